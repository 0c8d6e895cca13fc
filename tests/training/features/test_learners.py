"""What a snapshot holds of learners: allowed by the contract, nothing of the future, carried on by recent answers."""

from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import protovalidate
import pytest

from methods.learning.knowledge import Bank
from paedsresus.ml.v1 import learning_pb2
from server.modules.learning.learner_knowledge import learner_known
from server.serving.by_id import newer_events
from tests.training.features.conftest import MakeMart
from training.data.columns import as_seen_at
from training.data.mart import Mart
from training.data.tables import TABLES
from training.features.certification import COMPUTED, exam_tables
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
