"""What a snapshot holds of learners: allowed by the contract, nothing of the future, carried on by recent answers."""

import zlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import protovalidate
import pytest

from methods.learning.item_response import DifficultyParameters, Item
from methods.learning.knowledge import Bank
from methods.learning.memory import MemoryParameters
from paedsresus.ml.v1 import learning_pb2
from server.modules.learning import adjust_difficulty, optimize_schedule
from server.modules.learning.learner_knowledge import learner_known
from server.serving.by_id import newer_events
from server.serving.whole import Moment
from tests.training.features.conftest import MakeMart
from training.data.columns import as_seen_at
from training.data.mart import Mart
from training.data.tables import TABLES
from training.features.answers import answers_frame
from training.features.certification import COMPUTED, exam_tables
from training.features.folding import Folding
from training.features.landmarks import as_frame
from training.features.learners import learner_features

Learners = dict[str, learning_pb2.LearnerFeatures]


@pytest.fixture(scope="session")
def moments(simulated_mart: Mart) -> tuple[datetime, datetime]:
    """Two weeks before the end, and the end."""
    return simulated_mart.data_time - timedelta(days=14), simulated_mart.data_time


@pytest.fixture(scope="session")
def then(simulated_mart: Mart, moments: tuple[datetime, datetime]) -> Learners:
    return dict(learner_features(simulated_mart, as_of=moments[0]))


@pytest.fixture(scope="session")
def now(simulated_mart: Mart, moments: tuple[datetime, datetime]) -> Learners:
    return dict(learner_features(simulated_mart, as_of=moments[1]))


def test_everybody_is_there_and_keeps_the_contract(now: Learners, simulated_mart: Mart) -> None:
    assert len(now) == simulated_mart.tables["users"].rows
    assert not [violations for each in now.values() if (violations := protovalidate.collect_violations(each))]
    assert sum(bool(each.knowledge.skill_states) for each in now.values()) > 500, "older answers are folded"
    assert max(len(each.knowledge.history) for each in now.values()) == 100


def test_nothing_of_the_future_is_seen(
    then: Learners, moments: tuple[datetime, datetime], simulated_mart: Mart, make_mart: MakeMart
) -> None:
    known = {table.name: as_seen_at(table, simulated_mart.read(table.name), moments[0]) for table in TABLES}

    without = dict(learner_features(make_mart(known), as_of=moments[0]))

    assert then == without


def test_a_snapshot_with_the_answers_since_says_what_a_newer_one_says(
    then: Learners, now: Learners, moments: tuple[datetime, datetime]
) -> None:
    began, ended = (moment.timestamp() for moment in moments)
    active = [who for who, each in now.items() if who in then and len(_since(each, began)) in range(1, 100)]
    assert len(active) > 100

    for who in active[:200]:
        carried = learning_pb2.LearnerKnowledge()
        carried.CopyFrom(then[who].knowledge)
        # All the newest ones, as a caller sends them who does not know when the snapshot was made.
        carried.history.extend(newer_events(now[who].knowledge.history, began, ended))
        old, new = (learner_known(each, Bank(), ended).state for each in (carried, now[who].knowledge))

        assert (old.answers, old.correct) == (new.answers, new.correct)
        assert (old.slow, old.fast) == pytest.approx((new.slow, new.fast))
        assert old.skills.keys() == new.skills.keys()
        for skill_id, skill in old.skills.items():
            other = new.skills[skill_id]
            assert (skill.answers, skill.correct, skill.last, skill.days) == pytest.approx(
                (other.answers, other.correct, other.last, other.days)
            )
            assert skill.recent == pytest.approx(other.recent)


LEARNERS = 60


class Told:
    """One learner twice, by the snapshot's states and newest answers and by every answer, and the skills' kinds."""

    def __init__(self, mart: Mart, folding: Folding) -> None:
        self.folding, self.now = folding, mart.data_time
        self.short = dict(learner_features(mart, as_of=mart.data_time, folding=folding))
        answers = answers_frame(mart)
        counts = answers.groupby("user_id").size()
        self.keen = counts[counts > 100].index.tolist()[:LEARNERS]
        self._answers = dict(list(answers[answers.user_id.isin(self.keen)].groupby("user_id")))
        connection = mart.connect()
        self.kinds = as_frame(connection.tables["skills"]).set_index("skill_id")["kind"].to_dict()
        connection.backend.disconnect()

    def skills(self, who: str) -> list[str]:
        return sorted(set(self._answers[who]["skill_id"]))

    def pair(self, who: str) -> Iterator[learning_pb2.LearnerKnowledge]:
        """What the snapshot says, and the whole history."""
        yield self.short[who].knowledge
        whole = learning_pb2.LearnerKnowledge()
        for row in self._answers[who].itertuples():
            event = whole.history.add(skill_id=row.skill_id, item_id=row.item_id, correct=bool(row.correct))
            event.event_time.FromDatetime(row.answered_at.to_pydatetime())
        yield whole


@pytest.fixture(scope="module")
def told(simulated_mart: Mart) -> Told:
    """By parameters that differ from item to item, as a version's do."""
    items = answers_frame(simulated_mart)["item_id"].unique().tolist()
    hard = {item: (zlib.crc32(item.encode()) % 2001 - 1000) / 500 for item in items}
    memory = MemoryParameters(item_easiness={item: -logit for item, logit in hard.items()}, mean_share=0.7)
    calibrated = {item: Item(difficulty_logit=logit, calibration_answers=300) for item, logit in hard.items()}
    return Told(simulated_mart, Folding(memory, DifficultyParameters(items=calibrated, half_life_days=120.0)))


def test_memory_is_the_same_from_the_snapshot_as_from_every_answer(told: Told) -> None:
    assert len(told.keen) == LEARNERS
    for who in told.keen:
        answers = []
        for knowledge in told.pair(who):
            request = learning_pb2.OptimizeScheduleRequest()
            request.features.knowledge.CopyFrom(knowledge)
            for skill_id in told.skills(who):
                request.skills.add(skill_id=skill_id, kind=f"SKILL_KIND_{told.kinds[skill_id]}")  # type: ignore[arg-type]
            slot = request.slots.add()
            slot.start_time.FromDatetime(told.now + timedelta(days=3))
            slot.end_time.FromDatetime(told.now + timedelta(days=3, minutes=20))
            moment = Moment(told.now.timestamp(), bytes(32))
            answers.append(optimize_schedule.solve(told.folding.memory, request, moment))

        short, whole = (answer.memory_states for answer in answers)
        assert not any(memory.from_prior for memory in short)
        assert answers[0].info.observations == answers[1].info.observations
        for one, other in zip(short, whole, strict=True):
            assert one.stability_days.value == pytest.approx(other.stability_days.value, rel=1e-2), one.skill_id
            assert one.memory_difficulty == pytest.approx(other.memory_difficulty, abs=1e-2)
            assert one.retrievability.value == pytest.approx(other.retrievability.value, abs=1e-3)


def test_ability_is_that_of_every_answer_within_the_precision_of_a_stored_state(told: Told) -> None:
    """That is what methods/learning/item_response.py allows a state of a mean and an error: half a standard error."""
    shifts = []
    for who in told.keen:
        for skill_id in told.skills(who):
            answers = []
            for knowledge in told.pair(who):
                request = learning_pb2.AdjustDifficultyRequest(skill_id=skill_id)
                request.features.knowledge.CopyFrom(knowledge)
                moment = Moment(told.now.timestamp(), bytes(32))
                answers.append(adjust_difficulty.solve(told.folding.difficulty, request, moment))

            short, whole = answers
            assert not short.info.warnings
            error = whole.ability_standard_error
            assert short.info.observations == whole.info.observations
            assert short.ability_standard_error == pytest.approx(error, rel=0.25), (who, skill_id)
            shifts.append(abs(short.ability.value - whole.ability.value) / error)
    assert len(shifts) > 1_000
    assert max(shifts) < 0.5
    assert np.quantile(shifts, 0.99) < 0.15


def _since(features: learning_pb2.LearnerFeatures, began: float) -> list[learning_pb2.SkillEvent]:
    return [each for each in features.knowledge.history if each.event_time.ToNanoseconds() * 1e-9 > began]


def test_before_an_exam_a_snapshot_says_what_training_was_told(simulated_mart: Mart) -> None:
    """Of learners before exams of the certification that they gave at joining; the date alone no snapshot knows."""
    rows = exam_tables(simulated_mart).rows
    shared = {each.name for each in learning_pb2.LearnerFeatures.DESCRIPTOR.fields} & set(COMPUTED)
    assert shared == set(COMPUTED) - {"exam_time", "cut_score"}
    for place in (len(rows) // 3, len(rows) // 2, len(rows) - 1):
        row = rows.iloc[place]
        told = dict(learner_features(simulated_mart, as_of=row["as_of_time"].to_pydatetime()))[row["subject_id"]]

        known = {field.name for field, _ in told.ListFields()} & shared
        assert {name: _plain(told, name) for name in known} == pytest.approx({name: row[name] for name in known})
        assert all(pd.isna(row[name]) for name in shared - known)


def _plain(features: learning_pb2.LearnerFeatures, name: str) -> Any:
    """A field's value, of an enum its name without prefix."""
    value = getattr(features, name)
    enum = features.DESCRIPTOR.fields_by_name[name].enum_type
    if enum is None:
        return value
    return enum.values_by_number[value].name.removeprefix(enum.values_by_number[0].name.removesuffix("UNSPECIFIED"))
