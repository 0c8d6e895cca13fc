"""The world of memories, and learners on the way to an exam in it."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.closed_loop import schedule as benchmark
from benchmarks.closed_loop.schedule import POLICY, run
from benchmarks.closed_loop.worlds.memories import draw_law, draw_mind, live_before

LAW = draw_law(np.random.default_rng(1))


def test_recall_fades_and_a_further_day_of_practice_slows_it() -> None:
    mind = draw_mind(LAW, np.random.default_rng(2))
    assert mind.recall(0.0)[0] == 0.0
    mind.practise(0, 0.0, np.random.default_rng(3))
    once = mind.recall(90.0)[0] / mind.recall(30.0)[0]

    mind.practise(0, 30.0, np.random.default_rng(3))
    twice = mind.recall(120.0)[0] / mind.recall(60.0)[0]

    assert once < twice < 1.0


def test_practice_twice_in_a_sitting_grows_nothing() -> None:
    mind = draw_mind(LAW, np.random.default_rng(2))
    for day in (0.0, 0.1):
        mind.practise(0, day, np.random.default_rng(3))

    assert mind.days[0] == 1
    assert mind.stability[0] == draw_mind(LAW, np.random.default_rng(2)).stability[0]


def test_what_is_recalled_is_answered_right_more_often() -> None:
    law = replace(LAW, decay=3.0)
    rights = []
    for pause in (0.6, 2_000.0):
        right = []
        for seed in range(300):
            rng = np.random.default_rng(seed)
            mind = draw_mind(law, rng)
            mind.practise(0, 0.0, rng)
            right.append(mind.practise(0, pause, rng)[0].score)
        rights.append(np.mean(right))

    assert rights[0] - rights[1] > 0.2  # standard error 0.04


def test_answers_of_the_past_come_in_order_and_lie_there() -> None:
    answers = live_before(draw_mind(LAW, np.random.default_rng(4)), 100.0, np.random.default_rng(5))

    assert [a.day for a in answers] == sorted(a.day for a in answers)
    assert -100.0 < answers[0].day < answers[-1].day < 0.0
    assert {a.skill for a in answers} == set(range(10))


def test_a_world_is_run_with_equal_minutes_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "LEARNERS", 3)

    result = run(0)

    assert set(result.gains) == set(POLICY.gains)
    assert result.figures["sessions"] > 0
    assert result.figures["recall_at_exam.planned"] > result.figures["recall_at_exam.nothing"]
    assert "90 days after" in POLICY.why("crammed", result.figures)
