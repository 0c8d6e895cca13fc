"""Log lines: failures, slow calls and a sample; never a flood."""

import structlog
from structlog.testing import LogCapture

from server.edge.journal import LINES_A_SECOND, Journal
from server.errors import InvalidField
from tests.fakes.serving import FakeCall


def journal(capture: LogCapture, **options: float) -> Journal:
    log = structlog.wrap_logger(None, processors=[capture])
    return Journal(log, slow_seconds=0.25, sample=options.get("sample", 0.0), clock=lambda: options.get("now", 0.0))


def test_a_slow_call_gets_a_line_and_a_fast_one_none() -> None:
    capture = LogCapture()
    lines = journal(capture)

    lines.answered(FakeCall(request_id="r"), 0.2)
    lines.answered(FakeCall(request_id="r"), 0.3)

    assert [entry["event"] for entry in capture.entries] == ["call_slow"]
    assert capture.entries[0]["request_id"] == "r"


def test_one_in_a_hundred_fast_calls_gets_a_line() -> None:
    capture = LogCapture()
    lines = journal(capture, sample=0.01)

    for _ in range(1_000):
        lines.answered(FakeCall(), 0.001)

    assert [entry["event"] for entry in capture.entries] == ["call_sampled"] * 10


def test_a_flood_of_failures_is_cut_and_counted() -> None:
    capture = LogCapture()
    now = 0.0
    log = structlog.wrap_logger(None, processors=[capture])
    lines = Journal(log, slow_seconds=1, sample=0, clock=lambda: now)
    error = InvalidField("x")

    for _ in range(LINES_A_SECOND + 50):
        lines.failed(FakeCall(), 0.001, error, None)
    now = 1.0
    lines.failed(FakeCall(), 0.001, error, None)

    assert len(capture.entries) == LINES_A_SECOND + 1
    assert capture.entries[-1]["left_out"] == 50
    assert {entry["event"] for entry in capture.entries} == {"call_refused"}
