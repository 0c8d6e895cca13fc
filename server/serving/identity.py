"""Names of requests and predictions: the same caller, method and request_id always give the same prediction_id.

Not here: which version answers (split.py).
"""

from collections.abc import Callable
from hashlib import blake2b

ID_BYTES = 16


def prediction_ids(caller: str, method: str) -> Callable[[str], bytes]:
    """The function from a request's id to the 16 bytes of its prediction's id, 32 hex digits in an answer.

    >>> prediction_ids("local", "/s/M")("r-1") == prediction_ids("local", "/s/M")("r-1")
    True
    """
    base = blake2b(f"{caller}\0{method}\0".encode(), digest_size=ID_BYTES)

    def prediction_id(request_id: str) -> bytes:
        hashed = base.copy()
        hashed.update(request_id.encode())
        return hashed.digest()

    return prediction_id


def request_ids(boot: str) -> Callable[[], str]:
    """The function that makes a new request id; `boot` is different at every start of every process.

    A counter, not a random number: 0.1 microseconds against 12 for uuid4 inside a loaded server.
    """
    count = 0

    def make() -> str:
        nonlocal count
        count += 1
        return f"{boot}-{count:x}"

    return make
