"""`python -m server`: what an operator can do. Exit code 0: done; 1: it went wrong; 2: it was not even tried.

Each command's work stands in `commands/`. Not here: training and promotion (`python -m training`, MLflow).
"""

import os
import sys
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console

from server.commands.hold import OrderRefused, order_freeze, order_hold, order_release
from server.commands.serve import serve as run_server
from server.desired import DesiredError
from server.preflight import StartRefused
from server.settings import SettingsError, load_settings

app = typer.Typer(
    name="python -m server",
    help="Serve the versions that the registry asks for.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@app.callback()
def _group() -> None:
    """Serve the versions that the registry asks for."""


@app.command()
def serve() -> None:
    """Start the server; settings come from PAEDSRESUS_* variables. Ctrl-C drains, twice kills."""
    raise typer.Exit(run_server(os.environ, typer.echo))


@app.command()
def status(*, as_json: AsJson = False) -> None:
    """Say what is live and since when, what was refused and why, and how registry and processes are."""
    from server.commands.status import status as show_status  # loads grpc, which `serve` must not

    raise typer.Exit(show_status(load_settings(os.environ), Console(), as_json=as_json))


@app.command()
def hold(
    model: Annotated[str, typer.Argument(help="Registered model, e.g. churn.")],
    version: Annotated[int, typer.Option(min=1, help="Version to keep answering.")],
    duration: Annotated[str, typer.Option("--for", help="How long: 30m, 2h, 1d; at most 7d.")],
    reason: Annotated[str, typer.Option(help="Why; stands in the status.")] = "",
) -> None:
    """Break glass: keep one version answering, whatever the registry says. Ends by itself, or once they agree."""
    typer.echo(order_hold(load_settings(os.environ), model, version, duration, reason=reason, now=datetime.now(UTC)))


@app.command()
def freeze(
    duration: Annotated[str, typer.Option("--for", help="How long: 30m, 2h, 1d; at most 7d.")],
    reason: Annotated[str, typer.Option(help="Why; stands in the status.")] = "",
) -> None:
    """Break glass: keep everything that is live as it is. Ends by itself."""
    typer.echo(order_freeze(load_settings(os.environ), duration, reason=reason, now=datetime.now(UTC)))


@app.command()
def release() -> None:
    """End every hold and freeze now; the registry decides again."""
    typer.echo(order_release(load_settings(os.environ), now=datetime.now(UTC)))


@app.command()
def doctor(*, as_json: AsJson = False) -> None:
    """Check whether this machine is fit to serve. Changes nothing."""
    from server.commands.doctor import doctor as run_checks  # loads protobuf, which `serve` must not

    raise typer.Exit(run_checks(load_settings(os.environ), Console(), as_json=as_json))


def main() -> None:
    """Run one command; a refusal is one message on stderr, not a traceback."""
    try:
        app()
    except (SettingsError, StartRefused, OrderRefused, DesiredError) as refusal:
        typer.echo(str(refusal), err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
