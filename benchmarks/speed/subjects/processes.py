"""Processes under test: started on a core of their own, watched, stopped; each by its own id.

Linux only where it reads /proc; nothing here outlives its `with` block.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
_READY_SECONDS = 60.0
_STOP_SECONDS = 20.0
_BYTES_PER_MB = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A process under test and the port where it answers."""

    pid: int
    port: int
    started: float  # monotonic clock, just before the process was started
    ready: float  # the same clock, when its port took a connection


def usable_cores() -> list[int]:
    """Cores that this process may use; the first is for the server under test, the second for the generator."""
    return sorted(os.sched_getaffinity(0))


def free_port() -> int:
    """A port of the loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(
    command: Sequence[str], *, port: int, environ: Mapping[str, str] | None = None, core: int | None = None
) -> Iterator[Running]:
    """A Python process (`python -m …`) until the block ends; SIGTERM then, SIGKILL if that does not help.

    Args:
        command: what follows the interpreter.
        port: where it will answer; the block begins when it takes connections.
        environ: variables beside those of this process.
        core: the only core it and its children may use; any when None.
    Raises: RuntimeError: it ended, or its port took no connection within a minute.
        Its last words are a note on every error that leaves the block.
    """
    with tempfile.TemporaryFile() as words:
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env={**os.environ, **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=words,
        )
        try:
            if core is not None:
                os.sched_setaffinity(process.pid, {core})
            _wait_until_it_answers(process, " ".join(command), port, until=started + _READY_SECONDS)
            yield Running(pid=process.pid, port=port, started=started, ready=time.monotonic())
        except Exception as error:
            words.seek(0)
            last = words.read().decode(errors="replace").strip().splitlines()[-8:]
            error.add_note(f"last words of {' '.join(command)}:\n" + "\n".join(last))
            raise
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def resident_mb(pid: int) -> float:
    """Resident memory of a process in megabytes (10^6 bytes), shared pages included.

    Source: proc(5), VmRSS of /proc/PID/status.
    """
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / _BYTES_PER_MB
    raise RuntimeError(f"process {pid} has no memory")


def children_of(pid: int) -> dict[int, str]:
    """Command line of each direct child process, by its id."""
    found: dict[int, str] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text(encoding="ascii").split():
            words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
            found[int(child)] = b" ".join(words).decode(errors="replace").strip()
    return found


def holders_of(client_ports: Sequence[int], pids: Sequence[int]) -> dict[int, int]:
    """Which process holds the server's end of each connection: client port -> pid.

    Source: proc(5): /proc/net/tcp names the remote port and the inode of a socket, /proc/PID/fd who holds that inode.
    """
    port_of_inode: dict[str, int] = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            port_of_inode[fields[9]] = int(fields[2].rpartition(":")[2], 16)
    wanted = set(client_ports)
    holders: dict[int, int] = {}
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = descriptor.readlink().name
            except OSError:
                continue
            port = port_of_inode.get(target.removeprefix("socket:[").removesuffix("]"))
            if port in wanted:
                holders[port] = pid
    return holders


def _takes_connections(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait_until_it_answers(process: subprocess.Popen[bytes], name: str, port: int, *, until: float) -> None:
    while not _takes_connections(port):
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"{name} does not answer (exit {process.poll()})")
        time.sleep(0.005)
