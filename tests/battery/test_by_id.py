"""By id and by features: the same answer for the same subject, of every method whose contract offers both."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from numpy.typing import NDArray

from methods.learning import item_response, memory
from methods.snapshot import model_of
from paedsresus.ml.v1 import learning_pb2, revenue_pb2
from server.catalogue import SNAPSHOTS
from server.errors import NotFound, WrongState
from server.serving.contract import Method
from tests.battery.house import BUILT, House, messages_of
from training.data.mart import Mart, open_mart
from training.features.answers import answers_frame
from training.features.churn import churn_snapshot, mart_currency
from training.features.customers import ltv_columns
from training.features.folding import Folding
from training.features.landmarks import as_frame
from training.features.learners import learner_features
from training.features.offers import customer_columns
from training.revenue.champion import Champion, read_champion

SUBJECTS = 12
BY_ID = [method for method in BUILT if "by_id" in messages_of(method)[0].DESCRIPTOR.fields_by_name]

every_method = pytest.mark.parametrize("method", [pytest.param(each, id=each.name) for each in BY_ID])


class Platform:
    """Features as training computes them from the mart, as the messages that a caller would send.

    A caller who asks for a value sends the chance of leaving that PredictChurn gave him.
    """

    def __init__(self, mart: Mart, churn: Champion, folding: Folding) -> None:
        self.now = mart.data_time
        connection = mart.connect()
        self.currency = mart_currency(connection.tables)
        connection.backend.disconnect()
        frame = churn_snapshot(mart, as_of=self.now)
        self.subscribers = frame["subject_id"].tolist()
        offered = customer_columns(mart, self.subscribers, as_of=self.now, currency=self.currency or "")
        self.columns: dict[type[Message], Mapping[str, NDArray[Any]]] = {
            revenue_pb2.PredictChurnFeatures: {name: frame[name].to_numpy() for name in frame.columns[:-2]},
            revenue_pb2.CalculateLtvFeatures: ltv_columns(frame, churn.answer(frame)),
            revenue_pb2.RecommendUpsellFeatures: offered,
        }
        self.learners = dict(learner_features(mart, as_of=self.now, folding=folding))
        self.answers = answers_frame(mart)
        connection = mart.connect()
        skills = as_frame(connection.tables["skills"])
        connection.backend.disconnect()
        self.kinds = {row.skill_id: f"SKILL_KIND_{row.kind}" for row in skills.itertuples()}

    def subjects(self, kind: type[Message]) -> list[str]:
        """Some who are known, spread over all."""
        known = self.subscribers if kind in self.columns else list(self.learners)
        return known[:: max(1, len(known) // SUBJECTS)]

    def features(self, kind: type[Message], subject_id: str) -> Any:
        """What a caller who asks by features would send of this subject."""
        features: Any = kind()
        if kind in self.columns:
            row = self.subscribers.index(subject_id)
            for name, values in self.columns[kind].items():
                self._set(features, name, values[row])
            return features
        for field, value in self.learners[subject_id].ListFields():
            if field.name not in kind.DESCRIPTOR.fields_by_name:
                continue
            if field.is_repeated:
                getattr(features, field.name).extend(value)
            elif field.message_type is not None:
                getattr(features, field.name).CopyFrom(value)
            else:
                setattr(features, field.name, value)
        return features

    def _set(self, features: Any, name: str, value: Any) -> None:
        field = features.DESCRIPTOR.fields_by_name[name]
        if pd.isna(value):
            return
        if field.enum_type is not None:
            prefix = field.enum_type.values_by_number[0].name.removesuffix("UNSPECIFIED")
            setattr(features, name, field.enum_type.values_by_name[f"{prefix}{value}"].number)
        elif field.message_type is not None and field.message_type.name == "Money":
            money = getattr(features, name)
            money.minor_units, money.currency_code = round(value), self.currency
        elif field.message_type is not None:
            microseconds = round((self.now.timestamp() + float(value) * 86_400) * 1e6)
            getattr(features, name).FromMicroseconds(microseconds)
        elif field.cpp_type == FieldDescriptor.CPPTYPE_INT32:
            setattr(features, name, int(value))
        else:
            setattr(features, name, bool(value) if isinstance(value, bool | np.bool_) else float(value))


@pytest.fixture(scope="module")
def platform(trained: Path, house: House) -> Platform:
    told = {
        name: json.loads((house.artifacts[name] / "parameters.json").read_bytes())
        for name in ("schedule", "difficulty")
    }
    folding = Folding(memory.parse_parameters(told["schedule"]), item_response.parse_parameters(told["difficulty"]))
    return Platform(open_mart(trained / "data/mart"), read_champion(house.artifacts["churn"], 1), folding)


def base(house: House, method: Method, platform: Platform, place: int) -> Any:
    """A golden request without its subject, an hour after the snapshot."""
    golden = [each for each in house.golden(method) if each.WhichOneof("subject") in {"features", None}]
    request = golden[place % len(golden)]
    request.ClearField("features")
    moment = request.context.as_of_time.ToDatetime(tzinfo=UTC)
    now = platform.now + timedelta(hours=1)
    if method.name == "OptimizeSchedule":  # its slots and exam lie after the golden request's own moment
        for slot in request.slots:
            for time in (slot.start_time, slot.end_time):
                time.FromDatetime(time.ToDatetime(tzinfo=UTC) - moment + now)
    for name in ("exam_time", "target_time"):
        if name in request.DESCRIPTOR.fields_by_name and request.HasField(name):
            time = getattr(request, name)
            time.FromDatetime(time.ToDatetime(tzinfo=UTC) - moment + now)
    request.context.as_of_time.FromDatetime(now)
    request.context.request_id = f"by-id-{place}"
    return request


def bare(answer: Any) -> Any:
    """The answer without the moment it was computed and the snapshot it names."""
    answer.info.ClearField("compute_time")
    answer.info.ClearField("feature_snapshot")
    return answer


def kind_of(method: Method) -> type[Message]:
    """The features message of a method."""
    return type(messages_of(method)[0]().features)  # type: ignore[attr-defined]  # every request here has it


def needed(method: Method, overrides: Any) -> None:
    """What no snapshot can know and the contract wants."""
    if method.name == "PredictCertificationSuccess":
        overrides.certification = learning_pb2.CERTIFICATION_PALS


def test_every_module_that_is_asked_by_id_has_snapshots() -> None:
    assert {method.service.rpartition(".")[2].removesuffix("Service").lower() for method in BY_ID} == set(SNAPSHOTS)
    assert len(BY_ID) >= 8


@every_method
def test_a_subject_gets_by_id_what_its_features_get(house: House, platform: Platform, method: Method) -> None:
    kind, answered = kind_of(method), 0
    for place, subject_id in enumerate(platform.subjects(kind)):
        by_id, by_features = (base(house, method, platform, place) for _ in range(2))
        by_id.by_id.subject_id = subject_id
        by_features.features.CopyFrom(platform.features(kind, subject_id))
        by_features.features.SetInParent()
        needed(method, by_features.features)
        if by_features.features != platform.features(kind, subject_id):
            needed(method, by_id.by_id.overrides)

        try:
            brought = house.ask(method, by_features)
        except WrongState as refusal:  # the version has seen nobody like this one
            with pytest.raises(WrongState, match=re.escape(refusal.message)):
                house.ask(method, by_id)
            continue
        asked = house.ask(method, by_id)

        answered += 1
        module = method.service.rpartition(".")[2].removesuffix("Service").lower()
        assert asked.info.feature_snapshot.model == model_of(module)
        assert asked.info.feature_snapshot.age.ToTimedelta() == timedelta(hours=1)
        assert bare(asked) == bare(brought), subject_id
    assert answered > SUBJECTS / 2


@every_method
def test_nobody_is_not_found(house: House, platform: Platform, method: Method) -> None:
    request = base(house, method, platform, 0)
    request.by_id.subject_id = "nobody-of-this-name"
    needed(method, request.by_id.overrides)

    with pytest.raises(NotFound, match="send `features`"):
        house.ask(method, request)


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(each, id=each.name)
        for each in BY_ID
        if "recent" in messages_of(each)[0].DESCRIPTOR.fields_by_name["by_id"].message_type.fields_by_name  # type: ignore[union-attr]
    ],
)
def test_what_happened_since_counts_as_if_the_caller_had_added_it(
    house: House, platform: Platform, method: Method
) -> None:
    kind = kind_of(method)
    for place, subject_id in enumerate(platform.subjects(kind)[:4]):
        by_id, by_features = (base(house, method, platform, place) for _ in range(2))
        by_id.by_id.subject_id = subject_id
        by_features.features.CopyFrom(platform.features(kind, subject_id))
        by_features.features.SetInParent()
        needed(method, by_features.features)
        needed(method, by_id.by_id.overrides)
        held = by_features.features.knowledge.history
        for minutes, item in ((30, "new-2"), (10, "new-1"), (-600, "held")):
            event = by_id.by_id.recent.add(skill_id=held[-1].skill_id if held else "bls", item_id=item, correct=True)
            event.event_time.FromDatetime(platform.now + timedelta(minutes=minutes))
        held.extend([by_id.by_id.recent[1], by_id.by_id.recent[0]])

        assert bare(house.ask(method, by_id)) == bare(house.ask(method, by_features)), subject_id


def test_no_answer_is_too_old_to_be_counted_by_id(house: House, platform: Platform) -> None:
    """Keen learners, each in every skill that they ever answered in, against their whole history by features."""
    methods = {method.name: method for method in BY_ID}
    counts = platform.answers.groupby("user_id").size()
    keen = counts[counts > 100].index.tolist()[:SUBJECTS]
    assert len(keen) > SUBJECTS / 2
    for who in keen:
        answers = platform.answers[platform.answers["user_id"] == who]
        skills = sorted(set(answers["skill_id"]))
        for name in ("OptimizeSchedule", "AdjustDifficulty"):
            for skill_id in skills if name == "AdjustDifficulty" else skills[:1]:
                by_id, by_features = (base(house, methods[name], platform, 0) for _ in range(2))
                by_id.by_id.subject_id = who
                by_features.features.SetInParent()
                for row in answers.itertuples():
                    event = by_features.features.knowledge.history.add(
                        skill_id=row.skill_id, item_id=row.item_id, correct=bool(row.correct)
                    )
                    event.event_time.FromDatetime(row.answered_at.to_pydatetime())
                for request in (by_id, by_features):
                    if name == "AdjustDifficulty":
                        request.skill_id = skill_id
                        del request.answered_items[:], request.candidate_items[:]
                        request.candidate_items.add(item_id="any")
                    else:
                        del request.skills[:]
                        for each in skills:
                            request.skills.add(skill_id=each, kind=platform.kinds[each])
                short, whole = (house.ask(methods[name], request) for request in (by_id, by_features))

                assert list(short.info.warnings) == list(whole.info.warnings), (who, skill_id)
                if name == "AdjustDifficulty":
                    error = whole.ability_standard_error
                    assert short.ability.value == pytest.approx(whole.ability.value, abs=0.5 * error)
                    assert short.ability_standard_error == pytest.approx(error, rel=0.25)
                else:
                    assert [each.stability_days.value for each in short.memory_states] == pytest.approx(
                        [each.stability_days.value for each in whole.memory_states], rel=1e-2
                    )
