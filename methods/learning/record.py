"""A learner's record: the newest answers as they are, and the older ones folded into a state.

Ability and memory are read from answers, item by item, and a state of counts and averages says less; all answers of
everybody would be too much. `remember` adds one answer and keeps the newest few, whoever calls it and however often a
record is carried on: a record of today is yesterday's with the answers between (methods/snapshot.py, `fold_events`).
Pure. Not here: the state (knowledge.py); which answers there are (training/features/learners.py).
"""

from typing import Final, Generic, NamedTuple, TypeVar

from methods.learning.knowledge import NEW_LEARNER, UNSEEN, Event, LearnerState, fold, fold_all

NEWEST: Final = 100  # answers kept as they are: about two weeks of a keen learner, 5 kB of a snapshot

Known = TypeVar("Known")


class Answered(NamedTuple, Generic[Known]):
    """One answer: what the state folds, and whatever else its reader wants back."""

    event: Event
    known: Known


class Record(NamedTuple, Generic[Known]):
    """A learner.

    Attributes:
        state: of all answers before `newest`.
        newest: the answers after it, oldest first.
    """

    state: LearnerState
    newest: tuple[Answered[Known], ...]


def new_record() -> Record[Known]:
    """A learner who answered nothing yet."""
    return Record(NEW_LEARNER, ())


def remember(record: Record[Known], answered: Answered[Known], *, keep: int = NEWEST) -> Record[Known]:
    """The record with one answer more; the one before stays as it is.

    Answers come oldest first. Those of one moment stay on one side: a reader of state and answers leaves out an answer
    that is not later than its skill's state.

    >>> one, two = (Answered(Event("bls", 1.0, 0.7, day), day) for day in (1.0, 2.0))
    >>> after = remember(remember(new_record(), one, keep=1), two, keep=1)
    >>> after.state.answers, after.newest[0].known
    (1.0, 2.0)
    """
    event = answered.event
    folded = record.state.skills.get(record.state.skill_id or "", UNSEEN).days  # the newest answer's that is folded
    if folded is not None and event.days is not None and event.days <= folded:
        return Record(fold(record.state, event), record.newest)
    newest = (*record.newest, answered)
    if len(newest) <= keep:
        return Record(record.state, newest)
    cut = 1
    while cut < len(newest) and newest[cut].event.days == newest[0].event.days:
        cut += 1
    return Record(fold_all(record.state, [each.event for each in newest[:cut]]), newest[cut:])
