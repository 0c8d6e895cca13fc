"""A learner's record: the same whatever it was carried on from, and nothing lost between state and newest answers."""

from hypothesis import given
from hypothesis import strategies as st

from methods.learning.knowledge import NEW_LEARNER, Event, fold_all
from methods.learning.record import Answered, Record, new_record, remember
from methods.snapshot import Folded, fold_events

ANSWERS = st.lists(
    st.builds(
        Event,
        skill_id=st.sampled_from(["a", "b", "c"]),
        outcome=st.sampled_from([0.0, 0.5, 1.0]),
        expected=st.just(0.65),
        days=st.integers(0, 12).map(float),  # few, so that several answers fall into one moment
    ),
    max_size=40,
)


def fold_until(held: Folded[Record[str]], events: list[Event], until: float, keep: int) -> Folded[Record[str]]:
    timed = [(event.days or 0.0, Answered(event, f"answer {place}")) for place, event in enumerate(events)]
    return fold_events(held, timed, lambda record, answered: remember(record, answered, keep=keep), until=until)


@given(ANSWERS, st.integers(0, 12), st.integers(1, 8))
def test_a_record_of_today_is_yesterdays_with_the_answers_between(events: list[Event], moment: int, keep: int) -> None:
    nothing: Folded[Record[str]] = Folded(new_record(), -1.0)

    at_once = fold_until(nothing, events, 12.0, keep)
    carried_on = fold_until(fold_until(nothing, events, float(moment), keep), events, 12.0, keep)

    assert carried_on == at_once


@given(ANSWERS, st.integers(1, 8))
def test_state_and_newest_answers_together_are_all_answers(events: list[Event], keep: int) -> None:
    record = fold_until(Folded(new_record(), -1.0), events, 12.0, keep).state

    together = fold_all(record.state, [each.event for each in record.newest])

    assert together == fold_all(NEW_LEARNER, sorted(events, key=lambda event: event.days or 0.0))
    assert len(record.newest) <= keep


@given(ANSWERS, st.integers(1, 8))
def test_every_newest_answer_is_later_than_what_the_state_holds_of_its_skill(events: list[Event], keep: int) -> None:
    record = fold_until(Folded(new_record(), -1.0), events, 12.0, keep).state

    for each in record.newest:
        held = record.state.skills.get(each.event.skill_id)
        assert held is None or held.days is None or (each.event.days or 0.0) > held.days
