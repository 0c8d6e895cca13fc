"""One way to write logs: a JSON object a line, to stderr, with time, level, process and a fixed event name.

Call `configure_logs` once at the start of a process; everywhere else use `structlog.get_logger()`.
Not here: which calls get a line (edge); what a line may hold (never names, mails or free text of learners).
"""

import contextlib
import io
import logging
import sys
from typing import TextIO

import structlog


class _Patient(io.TextIOBase, TextIO):
    """A file that loses lines instead of raising: a full disk or a closed pipe under the log must end no process."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._file.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._file.flush()


def configure_logs(process: str, level: str) -> None:
    """Set up structlog for this process; `level` is a setting's word, `process` e.g. "supervisor" or "worker-0"."""

    def add_process(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["process"] = process
        return event

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.processors.add_log_level,
            add_process,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(_Patient(sys.stderr)),
        cache_logger_on_first_use=True,
    )
