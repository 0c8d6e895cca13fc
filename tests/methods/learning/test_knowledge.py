import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methods.learning.knowledge import (
    COLUMNS,
    NEW_LEARNER,
    SLOPES,
    Bank,
    Event,
    KnowledgeParameters,
    LearnerState,
    SkillState,
    correct_logit,
    describe,
    fold,
    fold_all,
    newer_events,
    parse_knowledge,
)

SHARES = st.floats(min_value=0, max_value=1)
EVENTS = st.lists(
    st.builds(
        Event,
        skill_id=st.sampled_from(["a", "b", "c"]),
        outcome=st.one_of(st.none(), st.sampled_from([0.0, 1.0]), SHARES),
        expected=SHARES,
        days=st.floats(min_value=0, max_value=1000),
    ),
    max_size=30,
)
PARAMETERS = KnowledgeParameters(
    bias=0.2,
    weights=tuple(0.01 * k for k in range(len(COLUMNS))),
    means=tuple(0.5 for _ in COLUMNS),
    items={"hard": -1.0},
    skills={"a": (0.4, *(0.1 for _ in SLOPES))},
    bank=Bank(base=0.6, skills={"a": 0.7}, items={"hard": 0.3}),
)


def column(name: str, state: LearnerState, skill_id: str = "a", days: float | None = None) -> float:
    return describe(state, skill_id, days)[COLUMNS.index(name)]


def right(skill_id: str, count: int) -> Sequence[Event]:
    return [Event(skill_id, 1.0, 0.5)] * count


@given(EVENTS, st.integers(min_value=0, max_value=30))
def test_a_snapshot_with_the_events_since_is_the_state_of_all_events(events: list[Event], cut: int) -> None:
    snapshot = fold_all(NEW_LEARNER, events[:cut])

    assert fold_all(snapshot, events[cut:]) == fold_all(NEW_LEARNER, events)


@given(EVENTS)
def test_counts_are_sums_and_averages_stay_shares(events: list[Event]) -> None:
    state = fold_all(NEW_LEARNER, events)

    judged = [event for event in events if event.outcome is not None]
    assert state.answers == len(judged) == sum(skill.answers for skill in state.skills.values())
    assert state.correct == pytest.approx(sum(event.outcome or 0.0 for event in judged))
    for skill in state.skills.values():
        assert skill.recent is not None
        assert 0 <= skill.recent <= 1
        assert skill.surprise is not None
        assert -1 <= skill.surprise <= 1


@given(EVENTS)
def test_columns_of_a_folded_state_are_all_known(events: list[Event]) -> None:
    state = fold_all(NEW_LEARNER, events)

    assert all(math.isfinite(value) for skill in ("a", "unseen") for value in describe(state, skill, 1000.0))


@given(EVENTS)
def test_folding_leaves_the_state_before_as_it_was(events: list[Event]) -> None:
    before = fold_all(NEW_LEARNER, right("a", 3))
    copy = before._replace(skills=dict(before.skills))

    fold_all(before, events)

    assert before == copy


@given(EVENTS)
def test_what_was_only_seen_changes_nothing(events: list[Event]) -> None:
    judged = [event for event in events if event.outcome is not None]

    assert fold_all(NEW_LEARNER, judged) == fold_all(NEW_LEARNER, events)


@given(EVENTS, st.randoms(use_true_random=False))
def test_recent_events_may_come_in_any_order_and_twice(events: list[Event], random: object) -> None:
    distinct = list({event.days: event for event in events}.values())
    ordered = sorted(distinct, key=lambda event: event.days or 0.0)
    shuffled = list(distinct)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis gives a random.Random

    once = fold_all(NEW_LEARNER, newer_events(NEW_LEARNER, shuffled))
    judged = [event for event in shuffled if event.outcome is not None]

    assert once == fold_all(NEW_LEARNER, ordered)
    assert newer_events(once, judged) == []


def test_streaks_count_answers_of_one_kind() -> None:
    state = fold_all(NEW_LEARNER, right("a", 3))
    assert state.skills["a"].streak == 3
    assert fold(state, Event("a", 0.0, 0.5)).skills["a"].streak == -1
    assert fold(state, Event("b", 0.0, 0.5)).skills["a"].streak == 3


def test_gap_and_run_tell_practice_in_between() -> None:
    state = fold_all(NEW_LEARNER, [*right("a", 2), *right("b", 3)])

    assert column("skill_gap", state, "a") == pytest.approx(math.log1p(3))
    assert column("skill_run", state, "a") == 0
    assert column("skill_gap", state, "b") == 0
    assert column("skill_run", state, "b") == pytest.approx(math.log1p(3))


def test_an_answer_against_expectation_moves_surprise_further() -> None:
    easy, hard = fold(NEW_LEARNER, Event("a", 1.0, 0.9)), fold(NEW_LEARNER, Event("a", 1.0, 0.2))

    assert column("surprise", hard) > column("surprise", easy) > 0


def test_days_since_practice_are_counted_from_the_skill() -> None:
    state = fold(NEW_LEARNER, Event("a", 1.0, 0.5, days=10.0))

    assert column("skill_days", state, "a", 17.0) == pytest.approx(math.log1p(7))
    assert column("skill_days", state, "b", 17.0) == 0


def test_an_unknown_number_is_nan_and_is_weighed_like_its_mean() -> None:
    known = SkillState(answers=4.0, correct=3.0, recent=0.5, surprise=0.125, last=1.0, streak=1, position=4.0)
    state = LearnerState(answers=4.0, correct=3.0, skill_id="a", run=1, skills={"a": known})
    without = state._replace(skills={"a": known._replace(recent=None)})

    columns = describe(without, "a")

    assert [name for name, value in zip(COLUMNS, columns, strict=True) if math.isnan(value)] == ["skill_recent"]
    assert correct_logit(columns, PARAMETERS, "a") == pytest.approx(
        correct_logit(describe(state, "a"), PARAMETERS, "a")
    )


def test_items_and_skills_that_are_not_known_add_nothing() -> None:
    columns = describe(NEW_LEARNER, "a")

    plain = correct_logit(columns, PARAMETERS, "b")
    assert correct_logit(columns, PARAMETERS, "b", "hard") == pytest.approx(plain - 1.0)
    assert correct_logit(columns, PARAMETERS, "a") != pytest.approx(plain)
    assert correct_logit(columns, PARAMETERS, "b", "new") == plain


def test_expectation_falls_back_from_item_to_skill_to_all() -> None:
    bank = PARAMETERS.bank

    assert [bank.expect("a", "hard"), bank.expect("a", "new"), bank.expect("z")] == [0.3, 0.7, 0.6]


def test_parameters_survive_json() -> None:
    assert parse_knowledge(PARAMETERS.to_json()) == PARAMETERS


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"bias": float("nan")}, "bias"),
        ({"columns": ["answers"]}, "columns"),
        ({"slopes": []}, "slopes"),
        ({"weights": [1.0]}, "weights"),
        ({"means": None}, "means"),
        ({"items": {"x": "y"}}, r"items\.x"),
        ({"skills": {"x": [0.0]}}, r"skills\.x"),
        ({"skills": []}, "skills"),
        ({"bank": []}, "bank"),
        ({"bank": {"base": 1.5, "skills": {}, "items": {}}}, r"bank\.base"),
        ({"bank": {"base": 0.5, "skills": {"s": -0.1}, "items": {}}}, r"bank\.skills\.s"),
        ({"bank": {"base": 0.5, "skills": {}, "items": 3}}, r"bank\.items"),
    ],
)
def test_parameters_that_are_wrong_are_refused_by_field(change: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        parse_knowledge({**PARAMETERS.to_json(), **change})


def test_parameters_that_are_no_object_are_refused() -> None:
    with pytest.raises(ValueError, match="knowledge"):
        parse_knowledge(None)
