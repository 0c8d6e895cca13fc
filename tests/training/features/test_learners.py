"""What a snapshot holds of learners: allowed by the contract, nothing of the future, carried on by recent answers."""

from datetime import datetime, timedelta

import protovalidate
import pytest

from methods.learning.knowledge import Bank
from paedsresus.ml.v1 import learning_pb2
from server.modules.learning.learner_knowledge import learner_known
from server.serving.by_id import newer_events
from tests.training.features.conftest import MakeMart
from tests.training.features.test_churn import as_seen_at
from training.data.mart import Mart
from training.data.tables import TABLES
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
