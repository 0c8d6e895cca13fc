"""The floor: a bare grpcio.aio server of the same messages, which parses the request and serialises a ready answer.

`python -m benchmarks.speed.subjects.echo --port P --answer PATH=FILE… [--same-settings]`. Plain, it is what everybody
writes: generated servicers, default asyncio, no options. With `--same-settings` it runs as our worker does: uvloop, a
frozen heap, the worker's channel options, listener and ranks of threads. It checks, computes and records nothing.
"""

import argparse
import asyncio
import contextlib
import gc
import importlib
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import grpc
import uvloop
from google.protobuf import message_factory
from google.protobuf.message import Message

from benchmarks.speed.subjects.processes import Running, free_port, running

PACKAGE = "paedsresus.ml.v1"
_Context = grpc.aio.ServicerContext[Any, Any]


class Echo:
    """Answers every request to a service's methods with the message that is ready for it.

    The generated code asks for each method of the service by name; one without a ready message stays unimplemented.
    """

    def __init__(self, ready: Mapping[str, Message]) -> None:
        self._ready = ready

    def __getattr__(self, name: str) -> Callable[[Message, _Context], Awaitable[Message]]:
        ready = self._ready.get(name)
        if ready is None:
            return _refuse

        async def answer(request: Message, context: _Context) -> Message:
            del request, context  # parsed by the generated code: that is what is measured
            return ready

        return answer


async def _refuse(request: Message, context: _Context) -> NoReturn:
    del request
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "no answer is ready")


@contextmanager
def echo(answers: Mapping[str, Path], *, same_settings: bool, core: int | None) -> Iterator[Running]:
    """The echo as a process under test; `answers` are files with a serialised response, by the method's path."""
    port = free_port()
    # As in server/edge/__main__.py; gRPC reads it when it is first imported, so the process must be born with it.
    environ = {"GRPC_EXPERIMENTS": "-event_engine_listener"} if same_settings else {}
    command = ["-m", "benchmarks.speed.subjects.echo", "--port", str(port)]
    for path, file in answers.items():
        command += ["--answer", f"{path}={file}"]
    command += ["--same-settings"] if same_settings else []
    with running(command, port=port, environ=environ, core=core) as process:
        yield process


async def serve(
    port: int,
    answers: Mapping[str, bytes],
    options: Sequence[tuple[str, int]] = (),
    settle: Callable[[], object] = lambda: None,
) -> None:
    """Answer on a loopback port until SIGTERM; `settle` is called at the start and then every second."""
    server = grpc.aio.server(options=list(options))
    services: dict[str, dict[str, bytes]] = {}
    for path, answer in answers.items():
        service, _, method = path.removeprefix(f"/{PACKAGE}.").partition("/")
        services.setdefault(service, {})[method] = answer
    for service, methods in services.items():
        _add(server, service, methods)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    while not stop.is_set():
        settle()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 1.0)
    await server.stop(0)


def _add(server: grpc.aio.Server, service: str, methods: Mapping[str, bytes]) -> None:
    """Give a service of the contract to the server by its generated code; one file holds one module's service."""
    name = service.removesuffix("Service").lower()
    described = importlib.import_module(f"{PACKAGE}.{name}_pb2").DESCRIPTOR.services_by_name[service]
    ready = {
        method: message_factory.GetMessageClass(described.methods_by_name[method].output_type).FromString(answer)
        for method, answer in methods.items()
    }
    add = getattr(importlib.import_module(f"{PACKAGE}.{name}_pb2_grpc"), f"add_{service}Servicer_to_server")
    add(Echo(ready), server)


def main() -> None:
    """Serve as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--answer", action="append", required=True, help="PATH=FILE with a serialised response")
    parser.add_argument("--same-settings", action="store_true", help="run as our worker does")
    arguments = parser.parse_args()
    pairs = (given.split("=", 1) for given in arguments.answer)
    answers = {path: Path(file).read_bytes() for path, file in pairs}
    if arguments.same_settings:
        # Here and not above: the plain echo must not carry the worker's modules in its heap.
        from server.edge.listen import OPTIONS
        from server.edge.threads import let_the_loop_go_first
        from server.edge.worker import GC_THRESHOLDS

        settled: frozenset[int] = frozenset()

        def settle() -> None:
            nonlocal settled
            settled = let_the_loop_go_first(settled)

        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(arguments.port, answers, OPTIONS, settle))
    else:
        asyncio.run(serve(arguments.port, answers))


if __name__ == "__main__":
    main()
