"""What every built method must do with its requests: nothing to them, the same each time, nothing of the future."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from server.control.probe import largest_difference
from server.errors import InvalidField, Reason
from server.serving.contract import Method
from server.serving.whole import Moment
from tests.battery.house import TRIED, WHOLE, House, messages_of, named, single_of
from tests.battery.messages import Place, by_name, comparable, holder_made, places
from tests.battery.requests import answer_or_reason, drawn, is_event

DRAWN = 25
ENOUGH = 12  # requests in which a field changes nothing: no version looks at it
ROUNDING = 1e-9  # sums in another order
IN_ORDER = {  # lists whose order the contract gives a meaning
    "seen_item_ids": "the newest last",
    "recent_lesson_ids": "the newest last",
    "horizon_days": "in the order the answer should have",
}
AVERAGE = "0 is average, which an absent one counts as"
NO_ANSWERS = "no answer is known of: the average learner"
SAME_AS_ZERO = {  # what the contract or the method says of an absent field, where that is what 0 says too
    "AdjustDifficulty": {"candidate_items[0].exposure_share": "unknown, and no limit"},
    "GeneratePath": {"available_lessons[0].difficulty_logit": AVERAGE},
    "OptimizePaymentFlow": {"routes[0].success_fee_share": "absent counts as 0"},
    "RecommendNextLesson": {
        "candidates[0].difficulty_logit": AVERAGE,
        "features.minutes_today": "without them nothing is deducted for fatigue",
    },
}
SAME_AS_ZERO_OF_ALL = {
    "features.knowledge.answers": NO_ANSWERS,
    "features.knowledge.correct_answers": NO_ANSWERS,
    "features.knowledge.skill_states[0].answers": NO_ANSWERS,
}
OTHERS = {
    FieldDescriptor.TYPE_DOUBLE: (0.5, 0.9, 2.0, 30.0),
    FieldDescriptor.TYPE_INT32: (1, 3, 30),
    FieldDescriptor.TYPE_BOOL: (True,),
}
DAY = 86_400

every_method = pytest.mark.parametrize("method", named(TRIED))
every_single = pytest.mark.parametrize("method", named(each for each in TRIED if single_of(each) is None))


@every_method
def test_a_method_has_a_version_to_be_tried_with(house: House, method: Method) -> None:
    assert method in house, f"the product trains no version of {method.models[0]}"
    assert house.golden(method)


@every_method
def test_a_golden_request_is_answered(house: House, method: Method) -> None:
    for request in house.golden(method):
        house.ask(method, request)


@every_single
def test_a_request_is_answered_or_refused_in_words(house: House, method: Method) -> None:
    answered = [answer_or_reason(house, method, drawn(house, method, seed)) for seed in range(2 * DRAWN)]

    assert sum(isinstance(each, Message) for each in answered) > 0


@pytest.mark.parametrize("method", named(each for each in TRIED if each.path in WHOLE))
def test_a_request_is_left_as_it_was(house: House, method: Method) -> None:
    version = house.versions[method.models[0]].asked
    for request in house.golden(method):
        before = request.SerializeToString(deterministic=True)
        model = house.computed[method.models[0]].asked if version is None else version

        WHOLE[method.path].solve(model, request, Moment(request.context.as_of_time.seconds, bytes(32)))

        assert request.SerializeToString(deterministic=True) == before


@every_method
def test_the_same_request_gets_the_same_answer_whatever_was_asked_between(house: House, method: Method) -> None:
    requests = house.golden(method)
    if single_of(method) is None:
        requests += [drawn(house, method, seed) for seed in range(DRAWN)]
    for number, request in enumerate(requests):
        request.context.request_id = f"battery-{number}"

    first = [_seen(answer_or_reason(house, method, request)) for request in requests]
    again = [_seen(answer_or_reason(house, method, request)) for request in reversed(requests)][::-1]

    assert first == again


@every_single
def test_the_order_of_things_changes_nothing_for_any_of_them(house: House, method: Method) -> None:
    rng = random.Random(1)
    for request in _varied(house, method):
        given = answer_or_reason(house, method, request)
        for place in _lists(request):
            shuffled = _copy(request)
            things = getattr(place.holder(shuffled), place.field.name)
            kept = list(things)
            rng.shuffle(kept)
            del things[:]
            things.extend(kept)

            other = answer_or_reason(house, method, shuffled)

            difference = largest_difference(by_name(_seen(given)), by_name(_seen(other)))
            assert difference <= ROUNDING, f"{place.path} in another order"


@every_single
def test_what_is_not_known_is_not_zero(house: House, method: Method) -> None:
    kind, _ = messages_of(method)
    requests = [*house.golden(method)[::6], *(drawn(house, method, seed) for seed in range(3 * DRAWN))]
    alike = [
        place.path
        for place in places(kind.DESCRIPTOR)
        if _may_be_absent(place) and not _absent_differs_from_zero(house, method, requests, place)
    ]

    assert sorted(set(alike) - set(SAME_AS_ZERO_OF_ALL) - set(SAME_AS_ZERO.get(method.name, {}))) == []


@every_method
def test_what_is_no_number_is_refused_by_name(house: House, method: Method) -> None:
    kind, _ = messages_of(method)
    for place in places(kind.DESCRIPTOR):
        if place.field.type != FieldDescriptor.TYPE_DOUBLE:
            continue
        for wrong in (math.nan, math.inf, -math.inf):
            request = house.golden(method)[0]
            holder = holder_made(request, place)
            if place.field.is_repeated:
                column = getattr(holder, place.field.name)
                column[:1] = [wrong]
                setattr(holder, f"{place.field.name.removesuffix('_days')}_present", b"")
            else:
                setattr(holder, place.field.name, wrong)

            assert place.path in _refused(house, method, request, place), f"{place.path} = {wrong}"


@every_single
def test_what_has_not_happened_yet_is_refused_or_not_looked_at(house: House, method: Method) -> None:
    for request in _varied(house, method):
        given = answer_or_reason(house, method, request)
        for place in _lists(request, least=1):
            kind = place.field.message_type
            if not is_event(kind) or place.field.name == "slots":
                continue
            times = [field.name for field in kind.fields if field.name.endswith("_time")]
            told = _copy(request)
            things = getattr(place.holder(told), place.field.name)
            event = things.add()
            event.CopyFrom(things[0])
            for name in times:
                getattr(event, name).seconds = request.context.as_of_time.seconds + DAY

            other = answer_or_reason(house, method, told)

            assert other is Reason.INVALID_FIELD or _seen(other) == _seen(given), f"{place.path} of tomorrow"


def _varied(house: House, method: Method) -> list[Any]:
    """Golden and drawn requests, and golden ones whose events all happened at one moment."""
    golden = house.golden(method)
    at_once = house.golden(method)[-2:]
    for request in at_once:
        for place in _lists(request):
            for thing in getattr(place.holder(request), place.field.name):
                if "event_time" in thing.DESCRIPTOR.fields_by_name:
                    thing.event_time.seconds = request.context.as_of_time.seconds - DAY
    return [*golden[::4], *at_once, *(drawn(house, method, seed) for seed in range(DRAWN))]


def _lists(request: Any, *, least: int = 2) -> list[Place]:
    """Lists of messages in a request that hold that many things, wherever they stand."""
    found = []
    for place in places(request.DESCRIPTOR):
        is_list = place.field.is_repeated and place.field.message_type is not None
        if not is_list and not (place.field.is_repeated and place.field.type == FieldDescriptor.TYPE_STRING):
            continue
        if place.field.name in IN_ORDER or not place.is_reached(request):
            continue
        if is_list or least > 1:
            found += [place] if len(getattr(place.holder(request), place.field.name)) >= least else []
    return found


def _may_be_absent(place: Place) -> bool:
    """An optional number or flag of what is known; an enum's zero says "unknown" itself."""
    first = place.steps[0][0] if place.steps else ""
    return place.field.type in OTHERS and place.field.has_presence and first not in {"context", "by_id", "columns", ""}


def _absent_differs_from_zero(house: House, method: Method, requests: list[Any], place: Place) -> bool:
    """Whether some request is answered otherwise without the field than with 0 there; True where no value matters."""
    is_used = False
    for number, request in enumerate(request for request in requests if place.is_reached(request)):
        if number > ENOUGH and not is_used:
            break
        zero = answer_or_reason(house, method, _with(request, place, 0))
        if not isinstance(zero, Message):
            continue
        if _seen(answer_or_reason(house, method, _with(request, place, None))) != _seen(zero):
            return True
        if not is_used:
            others = [answer_or_reason(house, method, _with(request, place, it)) for it in OTHERS[place.field.type]]
            is_used = any(isinstance(other, Message) and _seen(other) != _seen(zero) for other in others)
    return not is_used


def _with(request: Any, place: Place, value: float | None) -> Any:
    changed = _copy(request)
    if value is None:
        place.holder(changed).ClearField(place.field.name)
    else:
        setattr(place.holder(changed), place.field.name, type(place.field.default_value)(value))
    return changed


def _refused(house: House, method: Method, request: Any, place: Place) -> set[str]:
    """Fields that a refusal names: of the whole request, or of a batch's first row."""
    try:
        answer = house.ask(method, request)
    except InvalidField as refusal:
        named = {violation.field for violation in refusal.field_violations}
        return {place.path for field in named if field.split("[")[0] == place.path.split("[")[0] or field == place.path}
    column = place.field.name.removesuffix("_days")
    errors = [error.message for error in getattr(answer, "row_errors", ()) if error.row == 0]
    return {place.path} if any(column in message for message in errors) else set()


def _copy(request: Any) -> Any:
    copied = type(request)()
    copied.CopyFrom(request)
    return copied


def _seen(answer: Any) -> Any:
    return comparable(answer) if isinstance(answer, Message) else answer
