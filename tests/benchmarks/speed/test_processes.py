import os
import socket
import sys

import pytest

from benchmarks.speed.subjects.processes import children_of, free_port, holders_of, resident_mb, running

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_the_holder_of_a_connection_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        accepted, _ = server.accept()
        with accepted:
            port = client.getsockname()[1]

            assert holders_of([port], [os.getpid()]) == {port: os.getpid()}


def test_a_process_that_does_not_come_up_tells_its_last_words() -> None:
    with (
        pytest.raises(RuntimeError, match="does not answer") as raised,
        running(["-m", "benchmarks.nothing"], port=free_port()),
    ):
        pass

    assert "No module named benchmarks.nothing" in raised.value.__notes__[0]


def test_a_process_is_stopped_when_its_block_ends() -> None:
    port = free_port()

    with running(["-m", "http.server", "--bind", "127.0.0.1", str(port)], port=port) as process:
        assert process.pid in children_of(os.getpid())
        assert resident_mb(process.pid) > 1

    assert process.pid not in children_of(os.getpid())
