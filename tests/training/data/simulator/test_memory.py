import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.simulator.memory import correct_chance, recall, stability_after
from training.data.simulator.parameters import MemoryParameters

MEMORY = MemoryParameters()
days = st.floats(0.0, 2_000.0)
stabilities = st.floats(0.1, 2_000.0)


@given(days, days, stabilities)
def test_recall_starts_at_one_and_never_rises_with_time(first: float, second: float, stability: float) -> None:
    at = recall(np.array([0.0, *sorted((first, second))]), np.full(3, stability), MEMORY.decay)

    assert at[0] == 1.0
    assert at[0] >= at[1] >= at[2] > 0.0


@given(stabilities)
def test_stability_is_the_time_to_nine_tenths(stability: float) -> None:
    assert recall(np.array([stability]), np.array([stability]), MEMORY.decay)[0] == pytest.approx(0.9)


def test_other_targets_lie_at_the_published_multiples_of_stability() -> None:
    # Evidence page: 0.85 at 1.9 S, 0.80 at 3.3 S, 0.70 at 9.3 S; rounded there to one digit.
    at = recall(np.array([1.9, 3.3, 9.3]), np.ones(3), MEMORY.decay)

    assert at == pytest.approx([0.85, 0.80, 0.70], abs=0.005)


def test_a_further_day_of_practice_multiplies_stability_by_less_each_time() -> None:
    stability = stability_after(np.ones(6), np.arange(1.0, 7.0), MEMORY.stability_growth)
    factors = stability[1:] / stability[:-1]

    assert stability[0] == pytest.approx(1.0)
    assert factors[0] == pytest.approx(MEMORY.stability_growth)
    assert (np.diff(factors) < 0).all()
    assert (factors > 1).all()


def test_practice_on_one_day_counts_once_so_spaced_beats_massed() -> None:
    massed, spaced = stability_after(np.array([100.0, 100.0]), np.array([1.0, 4.0]), MEMORY.stability_growth)

    assert spaced > 2 * massed


def test_knowledge_fades_faster_than_skill() -> None:
    stability = np.array([MEMORY.knowledge_stability_days, MEMORY.skill_stability_days])

    knowledge, skill = recall(np.array([365.0, 365.0]), stability, MEMORY.decay)

    assert knowledge < skill - 0.1


@given(st.floats(-20, 20), st.floats(0.0, 1.0))
def test_an_answer_is_right_with_a_chance_between_guessing_and_slipping(logit: float, recalled: float) -> None:
    (chance,) = correct_chance(np.array([logit]), np.array([recalled]), MEMORY)

    assert MEMORY.guess <= chance <= 1 - MEMORY.slip
