"""Copies wait in a bounded queue and are scored off the path of replies."""

import asyncio

from server.serving.shadow import ShadowQueue


async def test_copies_are_scored_later_and_in_order() -> None:
    queue = ShadowQueue()
    scored: list[int] = []
    done = asyncio.Event()

    async def last() -> None:
        scored.append(3)
        done.set()

    queue.offer(lambda: scored.append(1))
    queue.offer(lambda: scored.append(2))
    queue.offer(last, weight=100)
    assert scored == []
    running = asyncio.create_task(queue.run())
    await asyncio.wait_for(done.wait(), 5)

    assert scored == [1, 2, 3]
    running.cancel()


async def test_a_full_queue_drops_and_counts_rows() -> None:
    queue = ShadowQueue(rows_max=10)

    queue.offer(lambda: None, weight=8)
    queue.offer(lambda: None, weight=5)
    queue.offer(lambda: None, weight=2)

    assert queue.dropped == 5


async def test_what_was_scored_makes_room_for_as_many_rows() -> None:
    queue = ShadowQueue(rows_max=10)
    scored = asyncio.Event()
    running = asyncio.create_task(queue.run())
    queue.offer(scored.set, weight=10)
    await asyncio.wait_for(scored.wait(), 5)

    queue.offer(lambda: None, weight=10)

    assert queue.dropped == 0
    running.cancel()
