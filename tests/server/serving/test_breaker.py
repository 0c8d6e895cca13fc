"""A canary that keeps failing gets nothing, then one try at a time."""

from server.serving.breaker import Breakers


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_failures_in_a_row_open_the_breaker_and_a_success_between_them_does_not() -> None:
    breakers = Breakers(Clock(), threshold=3, rest_seconds=30)

    breakers.failed("d")
    breakers.failed("d")
    breakers.succeeded("d")
    breakers.failed("d")
    breakers.failed("d")
    assert breakers.allows("d")

    breakers.failed("d")
    assert not breakers.allows("d")
    assert breakers.is_open("d")
    assert breakers.allows("another")


def test_after_the_rest_one_try_goes_and_its_failure_begins_the_rest_anew() -> None:
    clock = Clock()
    breakers = Breakers(clock, threshold=1, rest_seconds=30)
    breakers.failed("d")

    clock.now = 31
    assert breakers.allows("d")
    assert not breakers.allows("d")

    breakers.failed("d")
    clock.now = 60
    assert not breakers.allows("d")
    clock.now = 62
    assert breakers.allows("d")


def test_a_success_after_the_rest_closes_it() -> None:
    clock = Clock()
    breakers = Breakers(clock, threshold=1, rest_seconds=30)
    breakers.failed("d")
    clock.now = 31

    assert breakers.allows("d")
    breakers.succeeded("d")

    assert all(breakers.allows("d") for _ in range(3))
