"""Qini coefficient and uplift among the first: the published definition, and what must hold for any ranking."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from methods.statistics.uplift_scores import perfect_ranking, qini_coefficient, rank_rows, uplift_at


def by_hand(outcome: list[int], score: list[float], acted: list[int]) -> float:
    """The definition row by row: more outcomes than the scaled others', at each distinct score, by trapezoids."""

    def area(scores: list[float]) -> tuple[float, float, int]:
        points = [(0, 0.0)]
        for limit in sorted(set(scores), reverse=True):
            inside = [i for i, s in enumerate(scores) if s >= limit]
            with_it = [i for i in inside if acted[i]]
            without = [i for i in inside if not acted[i]]
            scaled = sum(outcome[i] for i in without) * len(with_it) / len(without) if without else 0.0
            points.append((len(inside), sum(outcome[i] for i in with_it) - scaled))
        sums = [(b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(points)]
        return sum(sums), points[-1][1], points[-1][0]

    best = [float(y * t - y * (1 - t)) for y, t in zip(outcome, acted, strict=True)]
    (model, end, rows), (perfect, _, _) = area(score), area(best)
    return (model - rows * end / 2) / (perfect - rows * end / 2)


@given(st.integers(0, 2**32 - 1), st.integers(20, 80))
def test_the_coefficient_is_the_definition_row_by_row(seed: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    outcome, score = rng.integers(0, 2, rows), rng.integers(0, 6, rows) / 5.0  # many equal scores
    acted = np.r_[0, 1, rng.integers(0, 2, rows - 2)]
    outcome[:2] = 0, 1

    value = qini_coefficient(outcome, score, acted)

    assert value == pytest.approx(by_hand(outcome.tolist(), score.tolist(), acted.tolist()), abs=1e-12)


@given(st.integers(0, 2**32 - 1))
def test_no_score_depends_on_the_order_of_the_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    outcome, score, acted = rng.integers(0, 2, 60), rng.integers(0, 9, 60), np.r_[0, 1, rng.integers(0, 2, 58)]
    outcome[:2] = 0, 1
    shuffled = rng.permutation(60)

    once = qini_coefficient(outcome, score, acted)
    again = qini_coefficient(outcome[shuffled], score[shuffled], acted[shuffled])

    assert once == pytest.approx(again, abs=1e-12)


@given(st.integers(0, 2**32 - 1))
def test_whole_weights_are_rows_written_more_than_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    outcome, score, acted = rng.integers(0, 2, 40), rng.random(40), np.r_[0, 1, rng.integers(0, 2, 38)]
    outcome[:2] = 0, 1
    weight = rng.integers(1, 4, 40)
    copied = [np.repeat(column, weight) for column in (outcome, score, acted)]

    weighted = qini_coefficient(outcome, score, acted, weight.astype(np.float64))

    assert weighted == pytest.approx(qini_coefficient(*copied), abs=1e-12)


@given(st.integers(0, 2**32 - 1))
def test_hindsight_reaches_one_and_nothing_is_better(seed: int) -> None:
    rng = np.random.default_rng(seed)
    outcome, acted = rng.integers(0, 2, 200), rng.integers(0, 2, 200)

    best = qini_coefficient(outcome, outcome * acted - outcome * (1.0 - acted), acted)

    assert best == pytest.approx(1.0)
    assert qini_coefficient(outcome, rng.random(200), acted) < 1.0


def test_a_random_order_scores_nothing_on_average() -> None:
    rng = np.random.default_rng(0)
    outcome, acted = (rng.random(2_000) < 0.2).astype(int), rng.integers(0, 2, 2_000)

    values = [qini_coefficient(outcome, rng.random(2_000), acted) for _ in range(200)]

    assert abs(np.mean(values)) < 4 * np.std(values) / math.sqrt(200)


def test_uplift_among_the_first_is_the_difference_of_frequencies() -> None:
    outcome, acted = np.array([1, 1, 0, 1, 0, 0]), np.array([1, 1, 0, 0, 1, 0])

    assert uplift_at(outcome, [6, 5, 4, 3, 2, 1], acted, share=0.67) == pytest.approx(1.0 - 0.5)
    assert math.isnan(uplift_at(outcome, [6, 5, 4, 3, 2, 1], acted, share=0.34))


def test_without_any_outcome_there_is_no_coefficient() -> None:
    assert math.isnan(qini_coefficient([0, 0, 0], [1, 2, 3], [0, 1, 1]))


@pytest.mark.parametrize(
    ("outcome", "score", "acted", "said"),
    [
        pytest.param([0, 1], [1.0], [0, 1], "equally long", id="lengths"),
        pytest.param([0, 2], [1.0, 2.0], [0, 1], "outcome", id="outcome"),
        pytest.param([0, 1], [1.0, math.nan], [0, 1], "finite", id="score"),
        pytest.param([0, 1], [1.0, 2.0], [1, 1], "both groups", id="one group"),
    ],
)
def test_columns_that_cannot_be_ranked_are_refused(
    outcome: list[float], score: list[float], acted: list[float], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        rank_rows(outcome, score, acted)


def test_the_perfect_ranking_begins_with_those_acted_on_with_outcome() -> None:
    ranking = perfect_ranking([1, 1, 0, 0], [0, 1, 0, 1])

    assert (ranking.order[0], ranking.order[-1]) == (1, 0)
