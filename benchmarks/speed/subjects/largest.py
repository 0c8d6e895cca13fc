"""The largest requests that the contract lets a caller send to the methods of the heavy lane: their limit is time.

A method of that lane answers within the caller's deadline, whatever it is sent; a request here shows how long that can
take. What the ids and numbers are does not matter, only how many there are.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from paedsresus.ml.v1 import learning_pb2, revenue_pb2

AS_OF: Final = datetime(2026, 1, 1, tzinfo=UTC)
PRICES, EXPOSURES = 12, 5_000
LESSONS, TARGET_SKILLS, EVENTS = 1_000, 500, 5_000
SKILLS, SLOTS = 500, 1_000


def calculate_optimal_price() -> bytes:
    """A ladder of 12 prices with 5,000 exposures behind it."""
    request = revenue_pb2.CalculateOptimalPriceRequest(
        product_id="largest", objective=revenue_pb2.PRICE_OBJECTIVE_LTV_PER_VISITOR
    )
    request.context.as_of_time.FromDatetime(AS_OF)
    for step in range(PRICES):
        request.ladder.add(minor_units=2_000 + 250 * step, currency_code="USD")
    request.current_price.CopyFrom(request.ladder[PRICES // 2])
    for number in range(EXPOSURES):
        seen = request.history.add(exposures=200, conversions=2 + number % 7, randomised=True)
        seen.price.CopyFrom(request.ladder[number % PRICES])
        seen.start_time.FromDatetime(AS_OF - timedelta(hours=2 + number))
        seen.end_time.FromDatetime(AS_OF - timedelta(hours=1 + number))
    return request.SerializeToString()


def generate_path() -> bytes:
    """1,000 lessons in chains of prerequisites, 500 skills to reach, 5,000 answers given so far."""
    request = learning_pb2.GeneratePathRequest()
    request.context.as_of_time.FromDatetime(AS_OF)
    request.study_time_per_week.FromTimedelta(timedelta(hours=10))
    request.target_skills.skill_ids.extend(f"skill-{number}" for number in range(TARGET_SKILLS))
    for number in range(LESSONS):
        lesson = request.available_lessons.add(
            lesson_id=f"lesson-{number}", skill_ids=[f"skill-{number % TARGET_SKILLS}"]
        )
        lesson.duration.FromTimedelta(timedelta(minutes=15))
        if number % 5:
            lesson.prerequisite_lesson_ids.append(f"lesson-{number - 1}")
    for number in range(EVENTS):
        event = request.features.knowledge.history.add(
            skill_id=f"skill-{number % TARGET_SKILLS}", item_id=f"item-{number}", correct=number % 3 > 0
        )
        event.event_time.FromDatetime(AS_OF - timedelta(hours=number + 1))
    return request.SerializeToString()


def optimize_schedule() -> bytes:
    """500 skills to keep, 1,000 free slots of two hours."""
    request = learning_pb2.OptimizeScheduleRequest()
    request.context.as_of_time.FromDatetime(AS_OF)
    request.features.SetInParent()
    kinds = [learning_pb2.SKILL_KIND_KNOWLEDGE, learning_pb2.SKILL_KIND_PSYCHOMOTOR, learning_pb2.SKILL_KIND_TEAM]
    for number in range(SKILLS):
        request.skills.add(skill_id=f"skill-{number}", kind=kinds[number % len(kinds)])
    for number in range(SLOTS):
        slot = request.slots.add()
        begin = AS_OF + timedelta(hours=12 * number + 1)
        slot.start_time.FromDatetime(begin)
        slot.end_time.FromDatetime(begin + timedelta(hours=2))
    return request.SerializeToString()


LARGEST: Final[Mapping[str, Callable[[], bytes]]] = {
    "CalculateOptimalPrice": calculate_optimal_price,
    "GeneratePath": generate_path,
    "OptimizeSchedule": optimize_schedule,
}
"""By method."""
