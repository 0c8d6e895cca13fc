"""What the release serves, and where: the compute process holds every version that a method may ask it for."""

from __future__ import annotations

from server.catalogue import COMPUTED, HEAVY_METHODS, KINDS
from server.modules.learning import service as learning
from server.modules.revenue import service as revenue


def test_a_method_with_requests_that_are_not_light_stands_in_the_compute_process_too() -> None:
    sized = [method for method in (*learning.WHOLE, *revenue.WHOLE) if method.is_light is not None]

    assert sized
    for method in sized:
        assert HEAVY_METHODS[method.path] is method
        assert COMPUTED[method.model] is KINDS[method.model], "opened for good, not only named"
