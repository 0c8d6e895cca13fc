"""A method that answers requests as a whole, from the platform's answers to the wire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from paedsresus.ml import Client
from paedsresus.ml.v1 import learning_pb2
from tests.end_to_end.house import House, wait_until
from training.models import MODELS

pytestmark = [
    pytest.mark.filterwarnings("default"),  # MLflow and its libraries warn of themselves
    pytest.mark.end_to_end,
    pytest.mark.timeout(300),
]


def test_every_bootstrapped_version_passes_its_trial_and_answers(serving: House) -> None:
    for model in MODELS:
        wait_until(
            lambda name=model: serving.version_tag(1, "serving.state", name), seconds=60, what=f"a verdict on {model}"
        )  # type: ignore[misc]
        assert serving.version_tag(1, "serving.state", model) == "live", model

    now = datetime.now(UTC)
    request = learning_pb2.AdjustDifficultyRequest(skill_id="s", mode=learning_pb2.DIFFICULTY_MODE_PRACTICE)
    request.candidate_items.add(item_id="unknown", difficulty_logit=-1.0)
    answer = request.features.knowledge.history.add(skill_id="s", item_id="other", correct=True)
    answer.event_time.FromDatetime(now - timedelta(days=1))
    with Client(serving.target) as client:
        found = client.learning.adjust_difficulty(request)
        planned = client.learning.generate_path(_path_request())

    assert (found.info.served_by[0].model, found.info.served_by[0].version) == ("difficulty", 1)
    assert found.ability.lower < found.ability.value < found.ability.upper
    assert found.ability.value > 0
    assert [item.item_id for item in found.ranked_items] == ["unknown"]
    assert (planned.info.served_by[0].model, planned.info.served_by[0].version) == ("path", 1)
    assert [step.lesson_id for step in planned.steps] == ["lesson"]


def _path_request() -> learning_pb2.GeneratePathRequest:
    """One lesson towards one skill: answered by the compute process."""
    request = learning_pb2.GeneratePathRequest()
    request.features.SetInParent()
    request.target_skills.skill_ids.append("knots")
    request.study_time_per_week.FromTimedelta(timedelta(hours=1))
    request.available_lessons.add(lesson_id="lesson", skill_ids=["knots"]).duration.FromTimedelta(timedelta(minutes=15))
    return request
