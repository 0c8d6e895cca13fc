from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.learning.memory import (
    KNOWLEDGE,
    PSYCHOMOTOR,
    MemoryParameters,
    MemoryStates,
    Reviews,
    days_until,
    fold,
    new_states,
    practise,
    recall_at,
)
from methods.learning.practice_worth import follow_course, worth, worth_with_one_more
from methods.learning.schedule import (
    MINUTES_A_DAY,
    Duty,
    Frame,
    Schedule,
    Slot,
    Unplaced,
    default_max_gap,
    most_forced_sessions,
    plan_schedule,
)

PAGE = Path(__file__).parents[3] / "docs/methods/optimize_schedule.md"
PRIOR = MemoryParameters()


def practised(days_ago: list[float], kinds: list[int] | None = None) -> MemoryStates:
    n = len(days_ago)
    states = new_states(np.array(kinds or [KNOWLEDGE] * n), PRIOR)
    zero = np.zeros(n)
    return fold(states, Reviews(day=-np.array(days_ago), score=np.ones(n), easiness=zero, learner_logit=zero), PRIOR)


def slots_on(days: list[float], minutes: float = 30.0) -> list[Slot]:
    return [Slot(start_day=day, end_day=day + minutes / MINUTES_A_DAY) for day in days]


def practice_days(schedule: Schedule, skill: int) -> list[float]:
    return [p.day for session in schedule.sessions for p in session.practices if p.skill == skill]


@st.composite
def requests(draw: st.DrawFn) -> tuple[MemoryStates, list[Duty], Frame]:
    n = draw(st.integers(1, 6))
    kinds = draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
    ago = draw(st.lists(st.one_of(st.none(), st.floats(0.1, 300)), min_size=n, max_size=n))
    states = practised([day if day is not None else 1.0 for day in ago], kinds)
    never = np.flatnonzero([day is None for day in ago])
    states = states.put(never, new_states(np.array(kinds), PRIOR).take(never))
    duties = [
        Duty(
            criticality=draw(st.floats(0, 1)),
            target=draw(st.floats(0.5, 0.99)),
            minutes=draw(st.floats(1, 60)),
            max_gap_days=draw(st.sampled_from([None, 5.0, 30.0, 90.0])),
        )
        for _ in range(n)
    ]
    starts = sorted(draw(st.sets(st.integers(-5, 130), max_size=15)))
    frame = Frame(
        slots=slots_on([float(day) for day in starts], draw(st.floats(5, 120))),
        exam_day=draw(st.floats(1, 120)),
        minutes_per_week=draw(st.one_of(st.none(), st.floats(1, 120))),
        min_gap_days=draw(st.floats(0, 20)),
        week_starts=draw(st.sampled_from([(), (-3.0, 4.0, 11.0, 18.0)])),
    )
    return states, duties, frame


@settings(max_examples=150, deadline=None)
@given(requests())
def test_every_plan_keeps_every_rule(request: tuple[MemoryStates, list[Duty], Frame]) -> None:
    states, duties, frame = request

    schedule = plan_schedule(states, duties, frame, PRIOR)

    used: dict[int, float] = {}
    for session in schedule.sessions:
        slot = next(s for s in frame.slots if s.start_day <= session.day < s.end_day)
        assert session.minutes == pytest.approx(sum(duties[p.skill].minutes for p in session.practices))
        assert session.day >= 0
        assert session.day + session.minutes / MINUTES_A_DAY <= min(slot.end_day, frame.exam_day) + 1e-6
        week = int(np.searchsorted(frame.week_starts, session.day, "right") if frame.week_starts else session.day // 7)
        used[week] = used.get(week, 0.0) + session.minutes
    assert frame.minutes_per_week is None or all(m <= frame.minutes_per_week + 1e-3 for m in used.values())
    for skill, state_day in enumerate(states.day.tolist()):
        days = ([state_day] if np.isfinite(state_day) else []) + practice_days(schedule, skill)
        assert all(b - a >= frame.min_gap_days - 1e-6 for a, b in pairwise(days))


@settings(max_examples=60, deadline=None)
@given(requests())
def test_recall_at_the_exam_is_that_of_the_planned_sessions(request: tuple[MemoryStates, list[Duty], Frame]) -> None:
    states, duties, frame = request

    schedule = plan_schedule(states, duties, frame, PRIOR)

    for skill in range(len(duties)):
        part = states.take(np.array([skill]))
        for day in practice_days(schedule, skill):
            part = practise(part, day, PRIOR)
        assert schedule.recall_at_exam.value[skill] == recall_at(part, frame.exam_day, PRIOR).value[0]
    assert np.all(schedule.recall_at_exam.lower <= schedule.recall_at_exam.value)
    assert np.all(schedule.recall_at_exam.value <= schedule.recall_at_exam.upper)


@settings(max_examples=60, deadline=None)
@given(requests())
def test_what_is_below_its_target_at_the_exam_is_named(request: tuple[MemoryStates, list[Duty], Frame]) -> None:
    states, duties, frame = request

    schedule = plan_schedule(states, duties, frame, PRIOR)

    targets = np.array([duty.target for duty in duties])
    short = set(np.flatnonzero(schedule.recall_at_exam.value < targets - 0.005).tolist())
    named = {missed.skill for missed in schedule.missed}
    assert short <= named
    assert all(0 <= missed.due_day <= frame.exam_day for missed in schedule.missed)
    assert named - short <= {skill for skill, duty in enumerate(duties) if duty.max_gap_days is not None}


def test_equal_requests_get_equal_plans() -> None:
    states, duties = practised([10.0, 40.0, 3.0]), [Duty()] * 3
    frame = Frame(slots=slots_on([2.0, 9.0, 16.0]), exam_day=20.0)

    plans = [plan_schedule(states, duties, frame, PRIOR) for _ in range(2)]

    assert [practice_days(plan, skill) for plan in plans for skill in range(3)][:3] == [
        practice_days(plans[1], skill) for skill in range(3)
    ]


def test_the_greedy_plan_comes_close_to_the_best_of_all_plans() -> None:
    states, exam, room = practised([20.0, 5.0, 60.0]), 40.0, [4.0, 15.0, 27.0, 38.0]
    duties = [Duty(criticality=c, target=0.9) for c in (0.9, 0.5, 0.7)]
    frame = Frame(slots=slots_on(room, 10.0), exam_day=exam)  # one session on one skill in each slot

    def total(days: dict[int, list[float]]) -> float:
        return sum(
            duties[k].criticality
            * float(worth(states.take(np.array([k])), np.array([days[k]]), duties[k].target, exam, PRIOR)[0])
            for k in range(3)
        )

    plan = plan_schedule(states, duties, frame, PRIOR)
    greedy = total({k: practice_days(plan, k) for k in range(3)})
    best, idle = -np.inf, total({0: [], 1: [], 2: []})
    for code in range(4**4):  # each slot: one of the skills, or nothing
        chosen = [(code // 4**slot) % 4 for slot in range(4)]
        best = max(best, total({k: [day for day, who in zip(room, chosen, strict=True) if who == k] for k in range(3)}))

    assert greedy > idle + 0.95 * (best - idle)


def test_the_plan_beats_massed_and_even_practice_of_the_same_minutes() -> None:
    n, exam = 6, 60.0
    states = practised([5.0, 12.0, 25.0, 40.0, 60.0, 90.0])
    frame = Frame(slots=slots_on([1.0, 2.0, 3.0, 15.0, 30.0, 45.0, 55.0, 58.0], 20.0), exam_day=exam)
    plan = plan_schedule(states, [Duty()] * n, frame, PRIOR)
    count = sum(len(session.practices) for session in plan.sessions)

    def recalled(days: list[list[float]]) -> float:
        total = 0.0
        for skill, sessions in enumerate(days):
            part = states.take(np.array([skill]))
            for day in sessions:
                part = practise(part, day, PRIOR)
            total += float(recall_at(part, exam, PRIOR).value[0])
        return total / n

    shares = [count // n + (skill < count % n) for skill in range(n)]
    massed = recalled([[1.0 + 0.01 * k for k in range(share)] for share in shares])
    even = recalled([[exam * (k + 0.5) / share for k in range(share)] for share in shares])
    assert float(plan.recall_at_exam.value.mean()) > max(massed, even)


def test_more_at_stake_goes_first_when_time_is_short() -> None:
    states = practised([30.0, 30.0])
    frame = Frame(slots=slots_on([9.0], 10.0), exam_day=10.0)

    schedule = plan_schedule(states, [Duty(criticality=0.3), Duty(criticality=0.9)], frame, PRIOR)

    assert (practice_days(schedule, 0), practice_days(schedule, 1)) == ([], [9.0])
    assert [(m.skill, m.reason) for m in schedule.missed] == [(0, Unplaced.NO_TIME)]


def test_hands_on_skills_are_refreshed_every_ninety_days_whatever_the_memory_says() -> None:
    states = practised([10.0], [PSYCHOMOTOR])
    states = MemoryStates(**{**{n: getattr(states, n) for n in states.__slots__}, "stability_days": np.array([3e4])})
    frame = Frame(slots=slots_on([float(day) for day in range(1, 360, 3)]), exam_day=360.0)

    schedule = plan_schedule(states, [Duty(max_gap_days=default_max_gap(PSYCHOMOTOR))], frame, PRIOR)

    days = [-10.0, *practice_days(schedule, 0), 360.0]
    assert all(b - a <= 90.0 for a, b in pairwise(days))
    assert default_max_gap(KNOWLEDGE) is None


@pytest.mark.parametrize(
    ("slots", "duty", "minutes", "gap", "reason"),
    [
        pytest.param([], Duty(), None, 0.8, Unplaced.NO_SLOT, id="no slot"),
        pytest.param(slots_on([5.0], 5.0), Duty(minutes=10.0), None, 0.8, Unplaced.SLOTS_TOO_SHORT, id="too short"),
        pytest.param(slots_on([5.0]), Duty(), 5.0, 0.8, Unplaced.NO_TIME, id="week full"),
        pytest.param(slots_on([5.0]), Duty(), None, 80.0, Unplaced.GAP_TOO_SHORT, id="gap"),
    ],
)
def test_what_cannot_be_placed_says_why(
    slots: list[Slot], duty: Duty, minutes: float | None, gap: float, reason: Unplaced
) -> None:
    frame = Frame(slots=slots, exam_day=10.0, minutes_per_week=minutes, min_gap_days=gap)

    schedule = plan_schedule(practised([60.0]), [duty], frame, PRIOR)

    assert [missed.reason for missed in schedule.missed] == [reason]
    assert not schedule.sessions


def test_what_is_fresh_enough_gets_no_session() -> None:
    schedule = plan_schedule(practised([0.1]), [Duty(target=0.5)], Frame(slots=slots_on([0.2]), exam_day=0.4), PRIOR)

    assert (schedule.sessions, schedule.missed) == ((), ())


def test_more_slots_never_leave_less_worth() -> None:
    states, duty = practised([50.0]), Duty()
    worths = []
    for count in range(5):
        frame = Frame(slots=slots_on([3.0, 8.0, 13.0, 18.0][:count]), exam_day=25.0)
        days = practice_days(plan_schedule(states, [duty], frame, PRIOR), 0)
        worths.append(float(worth(states, np.array([days]).reshape(1, -1), duty.target, 25.0, PRIOR)[0]))

    assert worths == sorted(worths)


def test_worth_of_a_plan_is_recall_less_the_mean_shortfall() -> None:
    states, target, exam = practised([22.0]), 0.9, 32.0
    looks = (np.arange(16) + 0.5) / 16 * exam
    before, later = practise(states, 11.0, PRIOR), looks >= 11.0
    recalled = np.where(
        later,
        [recall_at(before, day, PRIOR).value[0] for day in looks],
        [recall_at(states, day, PRIOR).value[0] for day in looks],
    )

    value = worth(states, np.array([[11.0]]), target, exam, PRIOR)[0]

    expected = recall_at(before, exam, PRIOR).value[0] - np.maximum(0.9 - recalled, 0.0).mean()
    assert value == pytest.approx(expected)


@settings(max_examples=150, deadline=None)
@given(
    ago=st.one_of(st.none(), st.floats(0.1, 300)),
    kind=st.integers(0, 2),
    now=st.lists(st.floats(0, 60), max_size=5).map(sorted),
    days=st.lists(st.floats(0, 60), min_size=1, max_size=12).map(sorted),
    target=st.floats(0.5, 0.99),
)
def test_one_more_session_is_worth_what_the_whole_plan_is_worth(
    ago: float | None, kind: int, now: list[float], days: list[float], target: float
) -> None:
    state = new_states(np.array([kind]), PRIOR) if ago is None else practised([ago], [kind])
    every, exam = np.sort(np.array([[*now, day] for day in days]), axis=1), 60.0

    course = follow_course(state, now, target, exam, PRIOR)
    found = worth_with_one_more(course, np.array(days), PRIOR)

    expected = worth(state.take(np.zeros(len(days), dtype=np.int64)), every, target, exam, PRIOR)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)
    plain = worth(state, np.array([now]).reshape(1, -1), target, exam, PRIOR)[0]
    assert course.worth == pytest.approx(plain, abs=1e-14)


@pytest.mark.parametrize(("duties", "exam"), [([Duty()], 5.0), ([Duty(), Duty()], 0.0)], ids=["number", "past"])
def test_a_question_that_makes_no_sense_is_refused(duties: list[Duty], exam: float) -> None:
    with pytest.raises(ValueError, match=r"^(duties|exam_day): "):
        plan_schedule(practised([1.0, 2.0]), duties, Frame(slots=[], exam_day=exam), PRIOR)


def test_no_two_skills_share_a_minute() -> None:
    states = practised([30.0] * 5)
    schedule = plan_schedule(states, [Duty()] * 5, Frame(slots=slots_on([2.0, 9.0], 60.0), exam_day=12.0), PRIOR)

    for session in schedule.sessions:
        spans = [(p.day, p.day + 10.0 / MINUTES_A_DAY) for p in session.practices]
        assert all(a[1] <= b[0] + 1e-9 for a, b in combinations(sorted(spans), 2))


def test_the_page_shows_what_the_code_gives() -> None:
    state = new_states(np.array([KNOWLEDGE]), PRIOR)
    zero = np.zeros(1)
    first = fold(state, Reviews(day=zero, score=np.ones(1), easiness=zero, learner_logit=zero), PRIOR)
    at_30 = recall_at(first, 30.0, PRIOR)
    second = fold(first, Reviews(day=zero + 30.0, score=np.ones(1), easiness=zero, learner_logit=zero), PRIOR)
    wrong = fold(first, Reviews(day=zero + 30.0, score=zero, easiness=zero, learner_logit=zero), PRIOR)
    frame = Frame(slots=slots_on([40.0, 50.0, 58.0], 10.0), exam_day=60.0)
    plan = plan_schedule(second, [Duty()], frame, PRIOR)

    exam, page = plan.recall_at_exam, PAGE.read_text()
    for figure in (
        f"| {first.stability_days[0]:.1f} |",
        f"| {at_30.value[0]:.3f}, {at_30.lower[0]:.3f} to {at_30.upper[0]:.3f} |",
        f"| {second.stability_days[0]:.1f} |",
        f"| {wrong.stability_days[0]:.1f} |",
        f"| {days_until(0.8, second.stability_days, PRIOR.decay)[0]:.0f} |",
        f"| {', '.join(f'{day:.0f}' for day in practice_days(plan, 0))} |",
        f"| {exam.value[0]:.3f}, {exam.lower[0]:.3f} to {exam.upper[0]:.3f} |",
        f"| {plan.recall_without_practice.value[0]:.3f} |",
    ):
        assert figure in page, figure


def test_the_page_can_be_followed_by_hand() -> None:
    """The formulas and the constants that the page states, integrated over a plain grid, give its figures."""
    page, grid = PAGE.read_text(), np.linspace(-8.0, 8.0, 4_001)
    weights = np.exp(-0.5 * grid**2) / np.exp(-0.5 * grid**2).sum()
    decay = 0.1542
    factor = 0.9 ** (-1.0 / decay) - 1.0
    first, sd = 22.0 * np.exp(0.3 * 0.25), (0.8**-2.0 + 0.0005) ** -0.5
    # One right answer and four of the mean, in log-odds over the mean.
    right_so_far = np.log((4.0 / 5.0) / (1.0 / 5.0)) - np.log(0.75 / 0.25)
    known = 1.0 / (1.0 + np.exp(-(1.0 + 0.5 * right_so_far + 0.5 * 0.25 * 0.25 + 0.1 * np.log(2.0))))
    difficulty = 5.0 + 0.5 * (0.25 + 0.7 / (1.0 + np.exp(-1.0)) - 1.0)
    recall = (1.0 + factor * 30.0 / (first * np.exp(sd * grid))) ** -decay
    right = 0.25 + 0.7 * known * recall
    forgotten = 1.0 - weights @ recall
    trains = (0.3 * (1.0 - np.exp(-60.0)) + forgotten) * (11.0 - difficulty) / 6.0
    tells = {y: sd * (weights * p) @ grid / (weights @ p) for y, p in ((1, right), (0, 1.0 - right))}
    second, wrong = first * np.exp(tells[1] + trains), first * np.exp(tells[0] + trains / 2.0)

    assert f"$K$ is {known:.3f}, $\\bar R$ {1.0 - forgotten:.3f} and $D$ {difficulty:.2f}" in page
    assert f"| it tells {tells[1]:.3f}, it trains {trains:.3f} | {second:.1f} |" in page
    assert f"| it tells −{-tells[0]:.3f}, it trains {trains / 2.0:.3f} | {wrong:.1f} |" in page


@pytest.mark.parametrize("gap", [0.25, 1.0, 9.0])
def test_a_longest_gap_asks_for_one_session_a_slot_and_no_more_than_foretold(gap: float) -> None:
    second = 1.0 / 60.0
    frame = Frame(slots=slots_on([0.5 * day for day in range(400)], 400.0), exam_day=200.5, min_gap_days=0.0)
    duties = [Duty(minutes=second, max_gap_days=gap)]
    free = plan_schedule(practised([1.0]), [Duty(minutes=second)], frame, PRIOR)

    planned = plan_schedule(practised([1.0]), duties, frame, PRIOR)

    forced = most_forced_sessions(duties, frame)
    assert forced <= 400
    assert len(practice_days(planned, 0)) <= forced + len(practice_days(free, 0))
