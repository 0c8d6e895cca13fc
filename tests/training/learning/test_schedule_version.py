"""A version of `schedule`: learners who forget and learners who do not, and golden requests that the server answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from google.protobuf.json_format import MessageToDict, ParseDict

from methods.learning.memory import MemoryParameters, parse_parameters, recall_after
from paedsresus.ml.v1 import learning_pb2
from server.control.probe import largest_difference
from server.modules.learning.optimize_schedule import solve
from server.serving.whole import Moment
from server.serving.wire.judge import judge
from training.learning.schedule import PracticeLog, ScheduleOptions, fit_memory
from training.learning.schedule_version import Forgetting, forgets_better, golden_cases, judge_forgetting, practice_of

QUICK = ScheduleOptions(most_rows=5_000, most_steps=20, most_skill_rows=5_000)
SKILLS = pd.DataFrame({"skill_id": ["drugs", "airway"], "kind": ["KNOWLEDGE", "PSYCHOMOTOR"]})


def _frame(users: int = 200, *, forget: bool = True) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    pauses = np.exp(rng.uniform(np.log(0.01), np.log(120.0), (users, 2, 10)))
    recalled = recall_after(pauses, np.array([4.0, 25.0])[:, None], 0.3) if forget else np.ones_like(pauses)
    recalled[:, :, 0] = 1.0
    user, skill, _ = (part.ravel() for part in np.indices(pauses.shape))
    return pd.DataFrame(
        {
            "user_id": [f"u{place}" for place in user],
            "skill_id": SKILLS["skill_id"].to_numpy()[skill],
            "item_id": [f"i{place}" for place in rng.integers(0, 6, user.size)],
            "correct": rng.random(user.size) < 0.2 + 0.7 * recalled.ravel(),
            "answered_at": pd.Timestamp("2025-01-01", tz="UTC")
            + pd.to_timedelta((86_400 * np.cumsum(pauses, axis=2).ravel()).astype(np.int64), "s"),
        }
    ).sort_values(["user_id", "answered_at"], ignore_index=True)


def test_rows_become_a_log_with_the_kinds_of_their_skills() -> None:
    frame = _frame(users=3)

    log, begins = practice_of(frame, SKILLS)

    assert begins == frame["answered_at"].min()
    assert log.day.min() == 0.0
    assert [log.skill_ids[place] for place in log.skill] == frame["skill_id"].tolist()
    assert {log.skill_ids[s]: k for s, k in zip(log.skill, log.kind, strict=True)} == {"drugs": 0, "airway": 1}


@pytest.mark.parametrize(
    ("rows", "skills", "named"),
    [(0, SKILLS, "holds none"), (5, SKILLS.assign(kind="?"), "its kind is none")],
    ids=["empty", "kind"],
)
def test_data_that_do_not_suffice_are_refused(rows: int, skills: pd.DataFrame, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        practice_of(_frame(users=3).head(rows), skills)


@pytest.mark.parametrize("forget", [True, False], ids=["they forget", "they do not"])
def test_the_gate_opens_where_people_forget_and_only_there(*, forget: bool) -> None:
    log, _ = practice_of(_frame(forget=forget), SKILLS)
    is_judged = log.learner >= 140
    early, late = log.take(~is_judged), log.take(is_judged)

    found = judge_forgetting(late, fit_memory(early, QUICK), fit_memory(early, QUICK, forgets=False))

    assert found.rows > 500
    assert forgets_better(found).passed is forget


def test_the_gate_wants_the_interval_above_zero() -> None:
    found = Forgetting(model=0.5, without=0.505, standard_error=0.004, rows=9)

    assert not forgets_better(found).passed
    assert forgets_better(replace(found, without=0.51)).passed


def test_too_few_answers_after_a_day_are_refused() -> None:
    log, _ = practice_of(_frame(users=4), SKILLS)
    fitted = fit_memory(log, QUICK)

    with pytest.raises(ValueError, match="200 are needed"):
        judge_forgetting(log, fitted, fitted)
    assert isinstance(log, PracticeLog)


def _golden() -> tuple[MemoryParameters, list[tuple[Any, Any]]]:
    parameters = parse_parameters(
        MemoryParameters(
            skill_log_stability={"drugs": 0.3, "airway": -0.2}, item_easiness={"i1": 0.5, "i2": -0.7}
        ).to_json()
    )
    return parameters, list(golden_cases(parameters, np.random.default_rng(3)))


def test_the_server_gives_the_golden_answers() -> None:
    parameters, cases = _golden()

    assert len(cases) >= 20
    for asked, expected in cases:
        request: Any = ParseDict(dict(asked), learning_pb2.OptimizeScheduleRequest())
        judge(request)
        moment = Moment(request.context.as_of_time.ToNanoseconds() / 1e9, bytes(32))
        found = MessageToDict(solve(parameters, request, moment))
        assert largest_difference(expected, found) <= 1e-9


def test_most_golden_answers_place_sessions_and_the_others_say_why_not() -> None:
    _, cases = _golden()

    placed = [answer for _, answer in cases if answer.get("sessions")]
    idle = [answer for _, answer in cases if not answer.get("sessions")]

    assert len(placed) > len(cases) / 2
    assert len({skill["skillId"] for a in placed for s in a["sessions"] for skill in s["skills"]}) > 2
    assert {row["unscheduledReason"] for answer in idle for row in answer["unscheduled"]} == {
        "UNSCHEDULED_REASON_NO_SLOT",
        "UNSCHEDULED_REASON_SLOTS_TOO_SHORT",
    }
    assert _golden()[1] == cases
