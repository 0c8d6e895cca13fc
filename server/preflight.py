"""What must hold before a server starts: one server a state folder, a free port, and no open door without a lock.

Each check passes silently or raises `StartRefused` with what is wrong, where, and what to do.
Not here: whether the settings themselves are valid (settings.py); starting anything (supervisor.py).
"""

import fcntl
import ipaddress
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server.settings import Settings, split_address


class StartRefused(Exception):  # noqa: N818 - it says what happened; nothing failed
    """The server must not start now; the text says why and what to do."""


def check_bind(settings: Settings) -> None:
    """Refuse an address that other machines reach unless callers prove who they are (TLS both ways).

    Raises: StartRefused: names the address and the TLS fields that are missing or unreadable.
    """
    files = {
        "PAEDSRESUS_TLS_CERTIFICATE_FILE": settings.tls_certificate_file,
        "PAEDSRESUS_TLS_KEY_FILE": settings.tls_key_file,
        "PAEDSRESUS_TLS_CLIENT_CA_FILE": settings.tls_client_ca_file,
    }
    missing = [name for name, file in files.items() if file is None]
    for address in (settings.listen, settings.metrics_listen):
        host, _ = split_address(address)
        if missing and not is_loopback(host):
            message = (
                f"{address} is reachable from other machines, and {', '.join(missing)} "
                f"{'is' if len(missing) == 1 else 'are'} not set: anybody could call. "
                "Set all three TLS files, or listen on 127.0.0.1"
            )
            raise StartRefused(message)
    if 0 < len(missing) < len(files):
        raise StartRefused(f"TLS needs all three files; {', '.join(missing)} not set")
    for name, file in files.items():
        if file is not None and not os.access(file, os.R_OK):
            raise StartRefused(f"{name} names {file}, which does not exist or cannot be read by this user")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the host; a name other than localhost counts as reachable.

    >>> is_loopback("127.0.0.2"), is_loopback("::1"), is_loopback("0.0.0.0"), is_loopback("example.org")
    (True, True, False, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def locked(state_dir: Path) -> Iterator[None]:
    """Hold the state folder for this process; the kernel gives it back however the process ends.

    Raises: StartRefused: another process holds it (names its pid), or it cannot be written.
    """
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as failure:
        message = (
            f"the state folder {state_dir} cannot be used: {failure.strerror}; "
            "give this account the right to write there, or set PAEDSRESUS_STATE_DIR"
        )
        raise StartRefused(message) from failure
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(handle, 32).decode(errors="replace").strip() or "unknown"
            message = (
                f"the state folder {state_dir} is in use by process {holder}; "
                f"stop that server (kill {holder}) or give this one its own folder with PAEDSRESUS_STATE_DIR"
            )
            raise StartRefused(message) from None
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(handle)


def lock_holder(state_dir: Path) -> int | None:
    """Process that holds the state folder; None when no server runs there."""
    try:
        handle = os.open(state_dir / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.read(handle, 32).decode(errors="replace").strip()
        return int(text) if text.isdecimal() else None
    else:
        return None
    finally:
        os.close(handle)


def free_address(address: str, variable: str) -> str:
    """Return the address with a port that is free now; port 0 becomes a real one.

    The port is bound for a moment without SO_REUSEPORT. With it, as the workers bind, a second server would
    silently share the port and take half the calls.

    Raises: StartRefused: the port is taken or the host is not one of this machine's.
    """
    host, port = split_address(address)
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a closed connection's TIME_WAIT is no owner
            probe.bind(place)
            taken: int = probe.getsockname()[1]
    except OSError as failure:
        message = (
            f"cannot listen on {address}: {failure.strerror}. Another server may be running "
            f"(`ss -ltnp 'sport = :{port}'` names it); stop it or set {variable}"
        )
        raise StartRefused(message) from failure
    shown = f"[{host}]" if ":" in host else host
    return f"{shown}:{taken}"
