"""What goes on in sessions: how long, on which skill, which items, right or wrong; and the exams at the end.

Answers follow from hidden ability, practice and forgetting (memory.py), worked out for all answers of a chunk at once:
sorted by person, skill and time, so that "the last practice before" is the row above.
Not here: how often sessions happen (subscribing.py).
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from training.data import tables
from training.data.simulator.catalogue import ITEMS_A_SKILL, LESSONS_A_SKILL, Catalogue, item_ids, lesson_ids
from training.data.simulator.memory import correct_chance, recall, stability_after
from training.data.simulator.parameters import Parameters
from training.data.simulator.people import People
from training.data.simulator.subscribing import Diary
from training.data.simulator.tabulate import named, numbered, tabulate, times

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
MINUTES_A_DAY = 1_440.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Studies:
    """Sessions of a chunk, ordered by person and time; every array is (s,)."""

    user: Integers
    day: Floats
    minutes: Floats
    skill: Integers
    answers: Integers


def study(
    people: People, diary: Diary, catalogue: Catalogue, parameters: Parameters, rng: np.random.Generator
) -> dict[str, pa.Table]:
    """The tables sessions, answers and exams of one chunk."""
    sessions = _draw_sessions(diary, catalogue, parameters, rng)
    prefix = f"s{people.first}-"
    return {
        "sessions": _sessions_table(people, sessions, catalogue, parameters, prefix, rng),
        "answers": _answers_table(people, sessions, catalogue, parameters, prefix, rng),
        "exams": _exams_table(people, sessions, parameters, rng),
    }


def _draw_sessions(diary: Diary, catalogue: Catalogue, parameters: Parameters, rng: np.random.Generator) -> Studies:
    order = np.lexsort((diary.session_day, diary.session_user))
    user, day = diary.session_user[order], diary.session_day[order]
    skills = catalogue.skill_stability_days.size
    # People follow the course, three sessions a skill, and go back to earlier skills in between. JUDGEMENT
    on_course = (_place_in_group(user) // 3 + user) % skills
    skill = np.where(rng.random(user.size) < 0.6, on_course, rng.integers(0, skills, user.size))
    shape = parameters.engagement
    return Studies(
        user=user,
        day=day,
        minutes=np.clip(rng.lognormal(np.log(shape.minutes_median), 0.5, user.size), 1.0, 180.0).round(2),
        skill=skill.astype(np.int64),
        answers=rng.poisson(shape.answers_a_session, user.size).astype(np.int64),
    )


def _sessions_table(
    people: People,
    sessions: Studies,
    catalogue: Catalogue,
    parameters: Parameters,
    prefix: str,
    rng: np.random.Generator,
) -> pa.Table:
    n = sessions.user.size
    lessons = lesson_ids(LESSONS_A_SKILL * catalogue.skill_stability_days.size)
    lesson = sessions.skill * LESSONS_A_SKILL + rng.integers(0, LESSONS_A_SKILL, n)
    return tabulate(
        tables.SESSIONS,
        session_id=numbered(prefix, np.arange(n)),
        user_id=people.ids(np.arange(people.count)).take(pa.array(sessions.user)),
        started_at=times(parameters.start, sessions.day),
        ended_at=times(parameters.start, sessions.day + sessions.minutes / MINUTES_A_DAY),
        minutes=sessions.minutes,
        lessons_finished=rng.binomial(2, np.clip(sessions.minutes / 30.0, 0.05, 0.9)),
        lesson_id=named(lessons, lesson),
        device=named(tables.DEVICES, (rng.random(n) < 0.4).astype(np.int64)),
    )


def _answers_table(
    people: People,
    sessions: Studies,
    catalogue: Catalogue,
    parameters: Parameters,
    prefix: str,
    rng: np.random.Generator,
) -> pa.Table:
    session = np.repeat(np.arange(sessions.user.size), sessions.answers)
    position = _place_in_group(session)
    user, skill = sessions.user[session], sessions.skill[session]
    item = skill * ITEMS_A_SKILL + rng.integers(0, ITEMS_A_SKILL, session.size)
    gap_minutes = sessions.minutes[session] / (sessions.answers[session] + 1.0)
    day = sessions.day[session] + (position + 1.0) * gap_minutes / MINUTES_A_DAY
    chance = _right_chances(people, (user, skill, day), catalogue.item_difficulty[item], catalogue, parameters, rng)
    return tabulate(
        tables.ANSWERS,
        session_id=numbered(prefix, np.arange(sessions.user.size)).take(pa.array(session)),
        position=position,
        user_id=people.ids(np.arange(people.count)).take(pa.array(user)),
        item_id=named(item_ids(catalogue.item_skill.size), item),
        answered_at=times(parameters.start, day),
        correct=rng.random(session.size) < chance,
        seconds=np.minimum(rng.lognormal(np.log(25.0), 0.6, session.size), gap_minutes * 60.0).round(1),
    )


def _right_chances(
    people: People,
    asked: tuple[Integers, Integers, Floats],
    difficulty: Floats,
    catalogue: Catalogue,
    parameters: Parameters,
    rng: np.random.Generator,
) -> Floats:
    """(a,) chance of a right answer; `asked` is person, skill and day of each, ordered by person and time."""
    memory, skills = parameters.memory, catalogue.skill_stability_days.size
    user, skill, day = asked
    spread = catalogue.skill_log_sd * rng.standard_normal((people.count, skills))
    first_stability = catalogue.skill_stability_days * np.exp(spread)  # (n, skills)
    ability = people.ability[:, None] + memory.skill_sd * rng.standard_normal((people.count, skills))
    group = user * skills + skill
    order = np.argsort(group, kind="stable")  # time order is kept within a person's skill
    group, when = group[order], day[order]
    practised = _place_in_group(group)
    is_first = practised == 0
    pause = np.where(is_first, 0.0, np.diff(when, prepend=0.0))
    is_new_day = is_first | (np.diff(np.floor(when), prepend=-1.0) != 0)
    days_begun = np.cumsum(is_new_day)
    days_practised = days_begun - is_new_day - (days_begun[is_first] - 1)[np.cumsum(is_first) - 1]
    stability = stability_after(first_stability.ravel()[group], days_practised, memory.stability_growth)
    recalled = np.where(is_first, 1.0, recall(pause, stability, memory.decay))
    known = ability.ravel()[group] + memory.gain * np.log1p(practised) - difficulty[order]
    chance = np.empty(day.size)
    chance[order] = correct_chance(known + 0.9, recalled, memory)
    return chance


def _exams_table(people: People, sessions: Studies, parameters: Parameters, rng: np.random.Generator) -> pa.Table:
    """Each exam once, and once more a month later for half of those who failed."""
    first_session = np.full(people.count, np.inf)
    np.minimum.at(first_session, sessions.user, sessions.day)
    user = np.flatnonzero((people.exam < parameters.days) & (first_session < people.exam))
    day = people.exam[user]
    score = _exam_scores(people, sessions, user, day, rng)
    again = np.flatnonzero((score < parameters.memory.cut_score) & (rng.random(user.size) < 0.5))
    retake = _exam_scores(people, sessions, user[again], day[again] + 30.0, rng)
    user, day = np.concatenate([user, user[again]]), np.concatenate([day, day[again] + 30.0])
    score = np.concatenate([score, retake])
    passed = score >= parameters.memory.cut_score
    valid = np.where(passed, day + parameters.people.certification_days, np.nan)
    return tabulate(
        tables.EXAMS,
        exam_id=numbered(f"e{people.first}-", np.arange(user.size)),
        user_id=people.ids(user),
        certification=named(tables.CERTIFICATIONS, people.certification[user]),
        taken_at=times(parameters.start, day),
        score=score.round(3),
        cut_score=np.full(user.size, parameters.memory.cut_score),
        passed=passed,
        valid_until=times(parameters.start, valid),
    )


def _exam_scores(people: People, sessions: Studies, user: Integers, day: Floats, rng: np.random.Generator) -> Floats:
    """(k,) share of points: ability, sessions so far and the day's luck, to pass two in three. JUDGEMENT"""
    keys = sessions.user * 1e6 + sessions.day  # ordered, because sessions are
    before = np.searchsorted(keys, user * 1e6 + day) - np.searchsorted(keys, user * 1e6)
    logit = 1.6 + 0.5 * people.ability[user] + 0.12 * np.log1p(before) + 0.5 * rng.standard_normal(user.size)
    return np.asarray(1.0 / (1.0 + np.exp(-logit)), dtype=np.float64)


def _place_in_group(group: Integers) -> Integers:
    """(n,) place of each row within its run of equal values, from 0.

    >>> _place_in_group(np.array([4, 4, 7])).tolist()
    [0, 1, 0]
    """
    index = np.arange(group.size)
    is_first = np.diff(group, prepend=-1) != 0
    return np.asarray(index - index[is_first][np.cumsum(is_first) - 1], dtype=np.int64)
