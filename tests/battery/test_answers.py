"""What every answer must be: numbers within what the contract's words promise, values within their intervals."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from paedsresus.ml.v1 import common_pb2
from server.serving.contract import Method
from tests.battery.house import TRIED, House, messages_of, named, single_of
from tests.battery.requests import answer_or_reason, drawn
from tests.contract.test_comments import PROTOS, comments, parts
from tools.proto.compiler import run_protoc
from tools.proto.sources import proto_files

DRAWN, DRAWS = 25, 400
SUM_ERROR = 1e-9
REASONS_MOST = 5
UNMOVED = {"RecommendUpsell"}  # a version to which all customers are alike has no reasons; the rich one has
UNSEEN_MOST = 0.05  # probability of arms that DRAWS draws may all miss
STANDARD_ERRORS = 4.5  # one share in 150,000 lies further off by chance
CHANCE = re.compile(r"[\[(]0, 1\]|\b0 to 1\b")
ADDING_UP = re.compile(r"add\s+up\s+to\s+1\b")

every_method = pytest.mark.parametrize("method", named(TRIED))


def ranks(kind: Descriptor) -> str | None:
    """The list of an answer whose entries say with what probability they stand there; None where none does."""
    lists = (field for field in kind.fields if field.message_type is not None and field.is_repeated)
    return next((field.name for field in lists if "propensity" in field.message_type.fields_by_name), None)


EXPLAINING = [method for method in TRIED if "reasons" in messages_of(method)[1].DESCRIPTOR.fields_by_name]
EXPLORING = [method for method in TRIED if ranks(messages_of(method)[1].DESCRIPTOR)]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the contract says of each field, by its full name."""
    build = tmp_path_factory.mktemp("proto")
    image = build / "image.binpb"
    run_protoc(Path(build), PROTOS, ["--include_source_info", f"--descriptor_set_out={image}"], proto_files(PROTOS))
    found = {}
    for file in descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes()).file:
        above = comments(file)
        found |= {name: above.get(path, "") for path, name in parts(file, name=file.package)}
    return found


def inside(message: Message, path: str = "") -> Iterator[tuple[str, Message]]:
    """A message and all inside it, each with its path."""
    yield path, message
    for field, value in message.ListFields():
        if field.message_type is not None:
            values: Any = value if field.is_repeated else [value]
            for number, each in enumerate(values):
                yield from inside(
                    each, f"{path}.{field.name}[{number}]" if field.is_repeated else f"{path}.{field.name}"
                )


def answers(house: House, method: Method) -> list[Any]:
    """Answers to golden and drawn requests, with all that a request can ask for beside."""
    requests = house.golden(method)
    if single_of(method) is None:
        requests += [drawn(house, method, seed) for seed in range(DRAWN)]
    for request in requests:
        for wish in request.DESCRIPTOR.fields:
            if wish.name.startswith("include_"):
                setattr(request, wish.name, True)
    return [each for request in requests if isinstance(each := answer_or_reason(house, method, request), Message)]


def numbers(message: Any) -> Iterator[tuple[str, list[float]]]:
    """Every number of a message by its field: one, or all of a column."""
    for field, value in message.ListFields():
        if field.type in {field.TYPE_DOUBLE, field.TYPE_FLOAT}:
            yield field.name, list(value) if field.is_repeated else [value]


@every_method
def test_every_number_is_one(house: House, method: Method) -> None:
    for answer in answers(house, method):
        for path, message in inside(answer):
            for name, values in numbers(message):
                assert all(map(math.isfinite, values)), f"{path}.{name}: {values}"


@every_method
def test_every_interval_contains_its_value_and_says_how_sure_it_is(house: House, method: Method) -> None:
    for answer in answers(house, method):
        for path, message in inside(answer):
            if message.DESCRIPTOR.name in {"Estimate", "MoneyEstimate"}:
                _check_interval(path, message)
            for lower, value, upper in _columns(message):
                assert len(lower) == len(value) == len(upper), path
                assert all(low <= at <= high for low, at, high in zip(lower, value, upper, strict=True)), path


@every_method
def test_what_the_contract_calls_a_chance_or_a_share_is_one(house: House, method: Method, said: dict[str, str]) -> None:
    for answer in answers(house, method):
        for path, message in inside(answer):
            for field, value in message.ListFields():
                if not CHANCE.search(said.get(field.full_name, "")):
                    continue
                for number in _ends(value, is_repeated=field.is_repeated):
                    assert 0.0 <= number <= 1.0, f"{path}.{field.name}: {number}"


@every_method
def test_what_the_contract_lets_add_up_to_one_does(house: House, method: Method, said: dict[str, str]) -> None:
    for answer in answers(house, method):
        sums: Counter[str] = Counter()
        for path, message in inside(answer):
            for field in message.DESCRIPTOR.fields:
                if ADDING_UP.search(said.get(field.full_name, "")):
                    sums[f"{path.rpartition('[')[0]}.{field.name}"] += getattr(message, field.name)

        assert all(abs(total - 1.0) <= SUM_ERROR for total in sums.values()), sums


@every_method
def test_of_somebody_unknown_an_answer_claims_no_personal_evidence(house: House, method: Method) -> None:
    for request in house.golden(method):
        if "features" not in request.DESCRIPTOR.fields_by_name:
            return
        request.ClearField("features")
        request.features.SetInParent()

        answer = answer_or_reason(house, method, request)

        if isinstance(answer, Message):
            assert answer.info.evidence != common_pb2.EVIDENCE_PERSONAL


@pytest.mark.parametrize("method", named(EXPLAINING))
def test_reasons_are_five_at_most_the_largest_first_and_in_words(house: House, method: Method) -> None:
    requests = [*house.golden(method), *(drawn(house, method, seed) for seed in range(DRAWN))]
    found = []
    for request in requests:
        request.context.explain = True
        answer = answer_or_reason(house, method, request)
        if isinstance(answer, Message):
            found.append(list(answer.reasons))  # type: ignore[attr-defined]

    assert any(found) or method.name in UNMOVED, "nothing was ever explained"
    for reasons in found:
        sizes = [abs(reason.contribution) for reason in reasons]
        assert len(sizes) <= REASONS_MOST
        assert sizes == sorted(sizes, reverse=True)
        assert all(reason.feature and reason.unit and reason.text.endswith(".") for reason in reasons)


@pytest.mark.parametrize("method", named(EXPLORING))
def test_what_is_drawn_is_drawn_with_the_probability_that_the_answer_says(house: House, method: Method) -> None:
    name = ranks(messages_of(method)[1].DESCRIPTOR)
    assert name is not None
    for request in house.golden(method)[3::10]:
        if "disable_exploration" in request.DESCRIPTOR.fields_by_name:
            request.disable_exploration = False
        seen: Counter[str] = Counter()
        propensity: dict[str, float] = {}
        for number in range(DRAWS):
            request.context.request_id = f"draw-{number}"
            first = next(iter(getattr(house.ask(method, request), name)), None)
            if first is None:
                break
            arm = _arm(first)
            seen[arm] += 1
            assert propensity.setdefault(arm, first.propensity) == pytest.approx(first.propensity), arm
            assert 0.0 < first.propensity <= 1.0

        if seen:
            assert 1.0 - UNSEEN_MOST <= sum(propensity.values()) <= 1.0 + SUM_ERROR, propensity
        for arm, count in seen.items():
            error = math.sqrt(propensity[arm] * (1.0 - propensity[arm]) / DRAWS)
            assert abs(count / DRAWS - propensity[arm]) <= STANDARD_ERRORS * error + SUM_ERROR, arm


def _check_interval(path: str, estimate: Any) -> None:
    has = [estimate.HasField(end) for end in ("lower", "value", "upper")]
    if not has[0] and not has[2]:
        assert estimate.level == 0.0, f"{path}: a level without an interval"
        assert estimate.method == common_pb2.ESTIMATE_METHOD_UNSPECIFIED, path
        return
    assert all(has), f"{path}: {estimate}"
    lower, value, upper = (_ends(getattr(estimate, end), is_repeated=False)[0] for end in ("lower", "value", "upper"))
    assert lower <= value <= upper, f"{path}: {lower} {value} {upper}"
    assert 0.0 < estimate.level < 1.0, f"{path}: level {estimate.level}"
    assert estimate.method != common_pb2.ESTIMATE_METHOD_UNSPECIFIED, path


def _columns(message: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Columns with those of their intervals: values, lower and upper ends are numbered in that order."""
    for field in message.DESCRIPTOR.fields:
        if field.is_repeated and "lower" in field.name and field.message_type is None:
            value = message.DESCRIPTOR.fields_by_number[field.number - 1].name
            upper = field.name.replace("lower", "upper")
            yield getattr(message, field.name), getattr(message, value), getattr(message, upper)


def _ends(value: Any, *, is_repeated: bool) -> list[float]:
    """Every number in a field's value: of an estimate those that are set, of money its minor units."""
    if is_repeated:
        return [number for each in value for number in _ends(each, is_repeated=False)]
    if not isinstance(value, Message):
        return [float(value)] if isinstance(value, int | float) else []
    if value.DESCRIPTOR.name == "Money":
        return [float(value.minor_units)]  # type: ignore[attr-defined]
    return [float(getattr(value, end)) for end in ("lower", "value", "upper") if value.HasField(end)]


def _arm(entry: Any) -> str:
    """What was drawn: ids and choices of an entry, none of its numbers and words."""
    return " ".join(
        str(value) for field, value in entry.ListFields() if field.name.endswith("_id") or field.type == field.TYPE_ENUM
    )
