"""The floor: a bare grpcio.aio server of the same messages, which parses the request and serialises a ready answer.

`python -m benchmarks.speed.subjects.echo --port P --answer FILE [--same-settings]`. Plain, it is what everybody writes:
generated servicer, default asyncio, no options. With `--same-settings` it runs as our worker does: uvloop, a frozen
heap, the worker's channel options, listener and ranks of threads. It checks, computes and records nothing.
"""

import argparse
import asyncio
import contextlib
import gc
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
import uvloop

from benchmarks.speed.subjects.processes import Running, free_port, running
from paedsresus.ml.v1 import revenue_pb2, revenue_pb2_grpc


class Echo(revenue_pb2_grpc.RevenueServiceServicer):
    """Answers every request with the same message."""

    def __init__(self, answer: revenue_pb2.PredictChurnResponse) -> None:
        self._answer = answer

    async def PredictChurn(  # noqa: N802 - the generated name
        self,
        request: revenue_pb2.PredictChurnRequest,
        context: "grpc.aio.ServicerContext[revenue_pb2.PredictChurnRequest, revenue_pb2.PredictChurnResponse]",
    ) -> revenue_pb2.PredictChurnResponse:
        """Give the ready answer."""
        del request, context  # parsed by the generated code: that is what is measured
        return self._answer


@contextmanager
def echo(answer: Path, *, same_settings: bool, core: int | None) -> Iterator[Running]:
    """The echo as a process under test; `answer` is a file with a serialised PredictChurnResponse."""
    port = free_port()
    # As in server/edge/__main__.py; gRPC reads it when it is first imported, so the process must be born with it.
    environ = {"GRPC_EXPERIMENTS": "-event_engine_listener"} if same_settings else {}
    command = ["-m", "benchmarks.speed.subjects.echo", "--port", str(port), "--answer", str(answer)]
    command += ["--same-settings"] if same_settings else []
    with running(command, port=port, environ=environ, core=core) as process:
        yield process


async def serve(
    port: int, answer: bytes, options: Sequence[tuple[str, int]] = (), settle: Callable[[], object] = lambda: None
) -> None:
    """Answer on a loopback port until SIGTERM; `settle` is called at the start and then every second."""
    server = grpc.aio.server(options=list(options))
    ready = revenue_pb2.PredictChurnResponse.FromString(answer)
    answering = Echo(ready)  # type: ignore[abstract]  # the stubs want every method; the others stay unimplemented
    revenue_pb2_grpc.add_RevenueServiceServicer_to_server(answering, server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    while not stop.is_set():
        settle()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 1.0)
    await server.stop(0)


def main() -> None:
    """Serve as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--answer", type=Path, required=True, help="file with a serialised PredictChurnResponse")
    parser.add_argument("--same-settings", action="store_true", help="run as our worker does")
    arguments = parser.parse_args()
    answer = arguments.answer.read_bytes()
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
            runner.run(serve(arguments.port, answer, OPTIONS, settle))
    else:
        asyncio.run(serve(arguments.port, answer))


if __name__ == "__main__":
    main()
