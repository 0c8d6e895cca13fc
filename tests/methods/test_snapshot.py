import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from methods.features import Feature, FeatureSchema, Kind
from methods.learning.knowledge import NEW_LEARNER, LearnerState, fold
from methods.learning.knowledge import Event as AnswerEvent
from methods.snapshot import (
    Folded,
    SnapshotDescription,
    TableDescription,
    TableKind,
    find_subject,
    fold_events,
    order_subjects,
    parse_description,
    subject_hash,
)

SCHEMA = FeatureSchema(message="Demo", features=(Feature(name="seats", kind=Kind.COUNT),))
NUMBERS = TableDescription(name="churn", kind=TableKind.NUMBERS, feature_set="a" * 64, schema=SCHEMA)
PAYLOADS = TableDescription(
    name="path", kind=TableKind.PAYLOADS, feature_set="b" * 64, schema=FeatureSchema(message="Path", features=())
)
DESCRIPTION = SnapshotDescription(module="revenue", subjects=3, stale_after_seconds=60.0, tables=(NUMBERS, PAYLOADS))
IDS = st.lists(st.text(min_size=1, max_size=20), max_size=200, unique=True)
TIMES = st.integers(0, 10).map(float)


@given(IDS, st.text(max_size=20))
def test_every_subject_is_found_and_nobody_else(ids: list[str], other: str) -> None:
    index = order_subjects(ids)
    files = (index.hashes.tolist(), memoryview(index.ids), index.ends.tolist())

    assert [index.order[find_subject(one, *files)] for one in ids] == list(range(len(ids)))  # type: ignore[index]
    assert (find_subject(other, *files) is not None) == (other in ids)


@given(st.lists(st.integers(0, 2**64 - 1), max_size=300).map(sorted), st.text(min_size=1, max_size=8))
def test_hashes_that_are_not_spread_evenly_are_searched_all_the_same(hashes: list[int], subject: str) -> None:
    place = sorted([*hashes, subject_hash(subject)])
    row = place.index(subject_hash(subject))
    ids = b"".join(subject.encode() if at == row else b"-" for at in range(len(place)))
    ends = np.cumsum([len(subject.encode()) if at == row else 1 for at in range(len(place))]).tolist()

    assert find_subject(subject, place, memoryview(ids), ends) == row


def test_two_ids_with_one_hash_are_told_apart() -> None:
    place = subject_hash("b")
    ids, ends = memoryview(b"abc"), [1, 2, 3]

    assert find_subject("b", [place, place, place], ids, ends) == 1
    assert find_subject("b", [place, place, place], memoryview(b"axc"), ends) is None


@pytest.mark.parametrize(("ids", "message"), [(["a", "b", "a"], "'a' stands twice"), (["a", ""], "empty id")])
def test_ids_that_name_nobody_or_somebody_twice_are_refused(ids: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        order_subjects(ids)


def test_a_description_comes_back_from_json() -> None:
    assert parse_description(json.loads(json.dumps(DESCRIPTION.to_json()))) == DESCRIPTION


def changed(path: list[str | int], value: object) -> object:
    document = json.loads(json.dumps(DESCRIPTION.to_json()))
    part = document
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    return document


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["snapshot_format"], 2, "upgrade the server"),
        (["snapshot_format"], None, "snapshot_format"),
        (["subjects"], -1, "subjects"),
        (["subjects"], True, "subjects"),
        (["stale_after_seconds"], 0, "stale_after_seconds"),
        (["stale_after_seconds"], float("inf"), "stale_after_seconds"),
        (["module"], "../x", "module"),
        (["tables"], [], "tables"),
        (["tables", 0], 3, "tables"),
        (["tables", 0, "name"], "ids", "name"),
        (["tables", 0, "name"], "a.b", "name"),
        (["tables", 1, "name"], "churn", "same name"),
        (["tables", 1, "feature_set"], "a" * 64, "same feature_set"),
        (["tables", 0, "feature_set"], "A" * 64, "feature_set"),
        (["tables", 0, "kind"], "words", "kind|words"),
        (["tables", 0, "kind"], "payloads", "schema"),
        (["tables", 0, "schema"], {}, "schema"),
    ],
)
def test_a_wrong_description_is_refused_by_name(path: list[str | int], value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_description(changed(path, value))


def remember(state: tuple[str, ...], event: str) -> tuple[str, ...]:
    """The strictest fold: it forgets nothing, not even the order."""
    return (*state, event)


def answer(state: LearnerState, event: AnswerEvent) -> LearnerState:
    return fold(state, event)


WORDS = st.lists(st.tuples(TIMES, st.text(max_size=3)), max_size=30)
ANSWERS = st.lists(
    st.tuples(
        TIMES, st.builds(AnswerEvent, st.sampled_from(["bmv", "cpr"]), st.sampled_from([0.0, 1.0]), st.just(0.7))
    ),
    max_size=30,
)


@pytest.mark.parametrize("case", [(WORDS, (), remember), (ANSWERS, NEW_LEARNER, answer)], ids=["words", "learner"])
@given(data=st.data(), first=TIMES, second=TIMES)
def test_a_snapshot_is_the_one_before_and_what_happened_since(
    case: tuple[st.SearchStrategy[list[tuple[float, object]]], object, Callable[[object, object], object]],
    data: st.DataObject,
    first: float,
    second: float,
) -> None:
    strategy, nothing, step = case
    events = data.draw(strategy)
    t0, t1 = sorted((first, second))
    start = Folded(nothing, -1.0)

    at_t0 = fold_events(start, events, step, until=t0)
    between = [event for event in events if event[0] > t0]
    overlapping = data.draw(st.integers(0, len(events)).map(lambda count: [*events[:count], *between]))

    at_t1 = fold_events(start, events, step, until=t1)
    assert fold_events(at_t0, between, step, until=t1) == at_t1
    assert fold_events(at_t0, events, step, until=t1) == at_t1  # those it holds already change nothing
    assert fold_events(at_t0, [e for e in overlapping if e[0] <= t0] + between, step, until=t1) == at_t1


def test_a_state_is_never_taken_back() -> None:
    with pytest.raises(ValueError, match="cannot be taken back"):
        fold_events(Folded((), 3.0), [], remember, until=2.0)
