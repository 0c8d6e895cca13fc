"""What goes on in sessions: how long, on which skill, which items, right or wrong; and the exams at the end.

Not here: how often sessions happen (subscribing.py); what is known and remembered (minds.py); exams (examining.py).
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from training.data import tables
from training.data.simulator.catalogue import ITEMS_A_SKILL, LESSONS_A_SKILL, Catalogue, item_ids, lesson_ids
from training.data.simulator.examining import exams_table
from training.data.simulator.minds import chances_of_answers, draw_minds, place_in_group, practice_of
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """What was asked in the sessions of a chunk, ordered by person and time; every array is (a,).

    Attributes:
        session: index of the session.
        position: place in it, from 0.
        item: index of the item.
        day: when it was answered.
        gap_minutes: time there was for it.
    """

    session: Integers
    position: Integers
    item: Integers
    day: Floats
    gap_minutes: Floats


def study(
    people: People, diary: Diary, catalogue: Catalogue, parameters: Parameters, rng: np.random.Generator
) -> dict[str, pa.Table]:
    """The tables sessions, answers and exams of one chunk."""
    sessions = _draw_sessions(diary, catalogue, parameters, rng)
    sat = _sessions_table(people, sessions, catalogue, parameters, rng)
    asked = _draw_questions(sessions, rng)
    minds = draw_minds(people, catalogue, parameters.memory, rng)
    group = sessions.user[asked.session] * minds.skills + catalogue.item_skill[asked.item]
    practice = practice_of(group, asked.day)
    chance = chances_of_answers(minds, practice, catalogue.item_difficulty[asked.item])
    return {
        "sessions": sat,
        "answers": _answers_table(people, sessions, asked, chance, parameters, rng),
        "exams": exams_table(
            people, _first_days(people, sessions), (minds, practice), catalogue, parameters, rng.spawn(1)[0]
        ),
    }


def _draw_sessions(diary: Diary, catalogue: Catalogue, parameters: Parameters, rng: np.random.Generator) -> Studies:
    order = np.lexsort((diary.session_day, diary.session_user))
    user, day = diary.session_user[order], diary.session_day[order]
    skills = catalogue.skill_stability_days.size
    # People follow the course, three sessions a skill, and go back to earlier skills in between. JUDGEMENT
    on_course = (place_in_group(user) // 3 + user) % skills
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
    rng: np.random.Generator,
) -> pa.Table:
    n = sessions.user.size
    lessons = lesson_ids(LESSONS_A_SKILL * catalogue.skill_stability_days.size)
    lesson = sessions.skill * LESSONS_A_SKILL + rng.integers(0, LESSONS_A_SKILL, n)
    return tabulate(
        tables.SESSIONS,
        session_id=numbered(_prefix(people), np.arange(n)),
        user_id=people.ids(np.arange(people.count)).take(pa.array(sessions.user)),
        started_at=times(parameters.start, sessions.day),
        ended_at=times(parameters.start, sessions.day + sessions.minutes / MINUTES_A_DAY),
        minutes=sessions.minutes,
        lessons_finished=rng.binomial(2, np.clip(sessions.minutes / 30.0, 0.05, 0.9)),
        lesson_id=named(lessons, lesson),
        device=named(tables.DEVICES, (rng.random(n) < 0.4).astype(np.int64)),
    )


def _draw_questions(sessions: Studies, rng: np.random.Generator) -> Questions:
    session = np.repeat(np.arange(sessions.user.size), sessions.answers)
    position = place_in_group(session)
    item = sessions.skill[session] * ITEMS_A_SKILL + rng.integers(0, ITEMS_A_SKILL, session.size)
    gap_minutes = sessions.minutes[session] / (sessions.answers[session] + 1.0)
    return Questions(
        session=session,
        position=position,
        item=item,
        day=sessions.day[session] + (position + 1.0) * gap_minutes / MINUTES_A_DAY,
        gap_minutes=gap_minutes,
    )


def _answers_table(
    people: People,
    sessions: Studies,
    asked: Questions,
    chance: Floats,
    parameters: Parameters,
    rng: np.random.Generator,
) -> pa.Table:
    """Answers to the questions, each right with its (a,) chance."""
    n = asked.session.size
    return tabulate(
        tables.ANSWERS,
        session_id=numbered(_prefix(people), np.arange(sessions.user.size)).take(pa.array(asked.session)),
        position=asked.position,
        user_id=people.ids(np.arange(people.count)).take(pa.array(sessions.user[asked.session])),
        item_id=named(item_ids(asked.item.max(initial=-1) + 1), asked.item),
        answered_at=times(parameters.start, asked.day),
        correct=rng.random(n) < chance,
        seconds=np.minimum(rng.lognormal(np.log(25.0), 0.6, n), asked.gap_minutes * 60.0).round(1),
    )


def _first_days(people: People, sessions: Studies) -> Floats:
    """(n,) day of everybody's first session, infinite without any."""
    first = np.full(people.count, np.inf)
    np.minimum.at(first, sessions.user, sessions.day)
    return first


def _prefix(people: People) -> str:
    return f"s{people.first}-"
