"""Our server as a subject: one worker alone over a state folder that is ready, or the whole server over a registry.

A worker alone is `python -m server.edge` with the settings the supervisor would give it; control is away, so it serves
its verified state and nothing else runs beside it.
"""

import secrets
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import grpc

from benchmarks.speed.subjects.processes import Running, free_port, running
from methods.manifest import MANIFEST_NAME, digest_of
from paedsresus.ml.v1 import revenue_pb2, revenue_pb2_grpc
from server.desired import DESIRED_NAME, ChampionRoute, Desired, Load, Route, write_desired
from server.settings import Place, Settings

MODEL = "churn"
_ANSWER_SECONDS = 10.0
_FIRST_ANSWER_SECONDS = 60.0


def prepare_state(state: Path, artifacts: Sequence[Path], *, generation: int = 1, champion: int = 1) -> None:
    """Put artifacts into a state folder's cache as versions 1, 2, … and ask for all of them.

    Args:
        state: the state folder; made when it is not there.
        artifacts: artifact folders.
        generation: of the desired state; a worker ignores a lower one than it has.
        champion: the version that answers.
    """
    for name in ("cache", "spool", "metrics"):
        (state / name).mkdir(parents=True, exist_ok=True)
    loads = []
    for version, artifact in enumerate(artifacts, start=1):
        digest = digest_of((artifact / MANIFEST_NAME).read_bytes())
        if not (state / "cache" / digest).exists():
            shutil.copytree(artifact, state / "cache" / digest)
        loads.append(Load(model=MODEL, version=version, digest=digest, folder=f"cache/{digest}"))
    now = datetime.now(UTC)
    chosen = loads[champion - 1]
    route = Route(champion=ChampionRoute(version=chosen.version, digest=chosen.digest, since=now))
    desired = Desired(generation=generation, load=tuple(loads), route={MODEL: route})
    write_desired(state / DESIRED_NAME, desired, written_at=now)


@contextmanager
def worker(state: Path, *, core: int | None) -> Iterator[Running]:
    """One worker over a prepared state folder."""
    port = free_port()
    settings = Settings(workers=1, listen=f"127.0.0.1:{port}", metrics_listen="127.0.0.1:0", state_dir=state)
    place = Place(slot=0, boot=secrets.token_hex(8))
    environ = {**settings.to_environ(), **place.to_environ()}
    with running(["-m", "server.edge"], port=port, environ=environ, core=core) as process:
        yield process


@contextmanager
def whole_server(
    state: Path, registry_uri: str, *, workers: int, core: int | None = None, settings: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """The whole server, `python -m server serve`, over an embedded registry; `pid` is the supervisor's."""
    port = free_port()
    environ = Settings(
        workers=workers,
        listen=f"127.0.0.1:{port}",
        metrics_listen=f"127.0.0.1:{free_port()}",
        state_dir=state,
        registry_uri=registry_uri,
    ).to_environ()
    with running(["-m", "server", "serve"], port=port, environ={**environ, **(settings or {})}, core=core) as process:
        yield process


def ask_once(port: int, question: bytes) -> bytes:
    """One call by grpc's own client: the serialised answer.

    Raises: grpc.RpcError: the server refused, or nothing came within ten seconds.
    """
    request = revenue_pb2.PredictChurnRequest.FromString(question)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        answer = revenue_pb2_grpc.RevenueServiceStub(channel).PredictChurn(request, timeout=_ANSWER_SECONDS)
    return answer.SerializeToString()


def ask_until_answered(port: int, question: bytes) -> bytes:
    """The first answer of a server that is still finding its versions; bounded by a minute.

    Raises: grpc.RpcError: the last refusal, when the minute is over.
    """
    ends = time.monotonic() + _FIRST_ANSWER_SECONDS
    while True:
        try:
            return ask_once(port, question)
        except grpc.RpcError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.02)
