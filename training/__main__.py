"""`python -m training`: collect data, fit a model, evaluate a version, promote one, roll back.

`data collect|simulate` fill the mart, `fit MODEL` makes a version, `evaluate churn` judges one on rows it was not
fitted on, `snapshot MODULE` publishes features for requests by id, `promote` and `rollback` move the alias `champion`.
The registry is the server's (PAEDSRESUS_REGISTRY_URI).
Not here: what a command does (training/data, training/revenue, register.py).
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from training.data.collect import collect
from training.data.mart import Mart, open_mart
from training.data.simulator.parameters import DEFAULT_USERS, DEFAULT_WEEKS, world_until
from training.data.sources import DatabaseSource, FolderSource, SimulatorSource, Source
from training.models import CHURN, MODELS, SNAPSHOTS, recipe_of
from training.recipe import fit_recipe
from training.register import CHALLENGER, CHAMPION, promote, rollback, set_alias
from training.registry import Registry, RegistryError, open_registry, registry_uri
from training.report import tables
from training.revenue.champion import fetch_version
from training.revenue.churn import ChurnOptions
from training.revenue.evaluation import evaluate_version
from training.revenue.fitting import fit_and_register

DEFAULT_MART = Path("data/mart")
SEED = 20

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
data_app = typer.Typer(no_args_is_help=True, help="Fill the mart.")
app.add_typer(data_app, name="data")
console = Console()


def _known(model: str) -> str:
    """A model's name; typer prints the refusal of any other."""
    if model not in MODELS:
        raise typer.BadParameter(f"{model!r} is none of {', '.join(MODELS)}")
    return model


def _registered(model: str) -> str:
    """The same for whatever has versions, snapshots included."""
    return model if model in SNAPSHOTS.values() else _known(model)


def _known_module(module: str) -> str:
    """A module with a snapshot; typer prints the refusal of any other."""
    if module not in SNAPSHOTS:
        raise typer.BadParameter(f"{module!r} is none of {', '.join(SNAPSHOTS)}")
    return module


ModelArgument = Annotated[str, typer.Argument(help=f"One of {', '.join(MODELS)}.", callback=_known)]
RegisteredArgument = Annotated[
    str, typer.Argument(help=f"One of {', '.join([*MODELS, *SNAPSHOTS.values()])}.", callback=_registered)
]

MartOption = Annotated[Path, typer.Option(help="Folder of the mart.")]
RegistryOption = Annotated[
    str | None, typer.Option("--registry", help="Address of the registry; by default PAEDSRESUS_REGISTRY_URI.")
]


@data_app.command("collect")
def collect_command(
    source: Annotated[str, typer.Option(help="Folder of Parquet or CSV files, or a SQL address (sqlite:///…).")],
    mart: MartOption = DEFAULT_MART,
) -> None:
    """Read what is new in a database or folder, set bad rows aside, and keep the rest in the mart."""
    _collect(DatabaseSource(source) if "://" in source else FolderSource(Path(source)), mart)


@data_app.command("simulate")
def simulate_command(
    users: Annotated[int, typer.Option(min=100, help="Accounts to make.")] = DEFAULT_USERS,
    weeks: Annotated[int, typer.Option(min=24, help="Weeks of history.")] = DEFAULT_WEEKS,
    seed: Annotated[int, typer.Option(help="Same seed, same world.")] = SEED,
    mart: MartOption = DEFAULT_MART,
) -> None:
    """Make a simulated platform that ends with last week, and collect it into the mart."""
    _collect(SimulatorSource(world_until(datetime.now(UTC), users=users, weeks=weeks, seed=seed)), mart)


@app.command("fit")
def fit_command(
    model: ModelArgument,
    mart: MartOption = DEFAULT_MART,
    registry: RegistryOption = None,
    seed: Annotated[int, typer.Option(help="Of folds, trees and draws.")] = SEED,
) -> None:
    """Fit, calibrate, judge beside champion and baseline, and register a version with its alias."""
    if model == CHURN:
        fit_churn_version(_mart(mart), _registry(registry), seed=seed)
    else:
        fit_recipe_version(model, _mart(mart), _registry(registry), seed=seed)


@app.command("evaluate")
def evaluate_command(
    model: ModelArgument,
    version: Annotated[int | None, typer.Option(help="Which version; by default the champion.")] = None,
    mart: MartOption = DEFAULT_MART,
    registry: RegistryOption = None,
) -> None:
    """Judge a registered version of churn on the landmarks after those it was fitted on."""
    if model != CHURN:
        _stop(f"only {CHURN} is judged anew; the card of a version of {model} says how it did")
    with tempfile.TemporaryDirectory(prefix="evaluate-") as scratch:
        found = fetch_version(_registry(registry), model, Path(scratch), version)
    if found is None:
        _stop(f"{model} has no champion; fit one: python -m training fit {model}")
    try:
        rows, scores = evaluate_version(found, _mart(mart))
    except ValueError as cause:
        _stop(str(cause))
    after = f"{found.manifest.data_time:%Y-%m-%d}"
    tables.print_scores(console, f"{rows:,} landmarks from {after} on", {f"{model} v{found.version}": scores})


@app.command("snapshot")
def snapshot_command(
    module: Annotated[str, typer.Argument(help=f"One of {', '.join(SNAPSHOTS)}.", callback=_known_module)],
    mart: MartOption = DEFAULT_MART,
    registry: RegistryOption = None,
    stale_after_hours: Annotated[
        float | None, typer.Option(min=0.1, help="Age from which answers are marked as stale; by default 36 hours.")
    ] = None,
) -> None:
    """Publish everybody's features as of the mart's newest moment, for requests by id; a running server follows."""
    begun = time.monotonic()
    with _progress(f"snapshot {module}") as say:
        from training.snapshot import publish_snapshot  # brings pandas and the expressions of every module

        try:
            done = publish_snapshot(
                module,
                _mart(mart),
                _registry(registry),
                now=datetime.now(UTC),
                progress=say,
                stale_after_seconds=None if stale_after_hours is None else stale_after_hours * 3_600,
            )
        except (ValueError, RegistryError) as cause:
            _stop(str(cause))
    known = ", ".join(f"{count:,} subjects for {name}" for name, count in done.subjects.items())
    console.print(f"{known}; {time.monotonic() - begun:.1f} s", highlight=False, soft_wrap=True)
    tables.print_registration(console, done.registration)


@app.command("promote")
def promote_command(
    model: RegisteredArgument,
    version: Annotated[int | None, typer.Option(help="Which version; by default the challenger.")] = None,
    alias: Annotated[str, typer.Option(help=f"{CHAMPION} or {CHALLENGER}.")] = CHAMPION,
    registry: RegistryOption = None,
) -> None:
    """Give `champion` (or, with --alias, `challenger`) to a version; a running server follows within seconds."""
    opened = _registry(registry)
    try:
        if alias == CHAMPION:
            before, now = promote(opened, model, version)
            console.print(f"champion of {model}: {_named(before)} -> v{now}", highlight=False)
        elif alias == CHALLENGER and version is not None:
            set_alias(opened, model, CHALLENGER, version)
            console.print(f"challenger of {model}: v{version}", highlight=False)
        else:
            _stop(f"alias is {CHAMPION} or {CHALLENGER}, and {CHALLENGER} needs --version; got {alias}")
    except RegistryError as cause:
        _stop(str(cause))


@app.command("rollback")
def rollback_command(
    model: RegisteredArgument,
    registry: RegistryOption = None,
) -> None:
    """Give `champion` back to the version that had it before."""
    try:
        before, now = rollback(_registry(registry), model)
    except RegistryError as cause:
        _stop(str(cause))
    console.print(f"champion of {model}: {_named(before)} -> v{now}", highlight=False)


def fit_churn_version(mart: Mart, registry: Registry, *, seed: int) -> bool:
    """Fits, registers and prints; whether the version got an alias."""
    begun = time.monotonic()
    with _progress("fit churn") as say:
        try:
            done = fit_and_register(mart, registry, ChurnOptions(), seed, datetime.now(UTC), progress=say)
        except (ValueError, RegistryError) as cause:
            _stop(str(cause))
    judged = done.judgement
    title = (
        f"{len(judged.outcome):,} landmarks from {judged.cut:%Y-%m-%d} on, never fitted on; "
        f"{int(judged.outcome.sum())} left within 28 days"
    )
    tables.print_scores(console, title, {contender.name: contender.scores for contender in judged.contenders})
    tables.print_folds(console, judged.folds)
    tables.print_gates(console, judged.gates)
    tables.print_registration(console, done.registration)
    console.print(f"{time.monotonic() - begun:.1f} s", highlight=False)
    return done.registration.alias is not None


def fit_recipe_version(model: str, mart: Mart, registry: Registry, *, seed: int) -> bool:
    """The same for a model with a recipe."""
    begun = time.monotonic()
    with _progress(f"fit {model}") as say:
        try:
            fitted, registration = fit_recipe(
                recipe_of(model), mart, registry, seed=seed, now=datetime.now(UTC), progress=say
            )
        except (ValueError, RegistryError) as cause:
            _stop(str(cause))
    tables.print_figures(console, f"{model}, on data never fitted on", fitted.figures)
    tables.print_gates(console, fitted.gates)
    tables.print_registration(console, registration)
    console.print(f"{time.monotonic() - begun:.1f} s", highlight=False)
    return registration.alias is not None


def _collect(source: Source, mart: Path) -> None:
    """Collects and prints."""
    with _progress("collect") as say:
        say(source.identity)
        try:
            report = collect(source, mart, datetime.now(UTC))
        except ValueError as cause:
            _stop(str(cause))
    tables.print_collected(console, report)


@contextmanager
def _progress(title: str) -> Iterator[Callable[[str], None]]:
    """A line that says the present step; steps are lines of their own where there is no terminal."""
    if not console.is_terminal:
        yield lambda step: console.print(f"{title}: {step}", highlight=False, soft_wrap=True)
        return
    with console.status(title) as status:
        yield lambda step: status.update(f"{title}: {step}")


def _mart(folder: Path) -> Mart:
    """The mart, which must exist."""
    try:
        return open_mart(folder)
    except FileNotFoundError:
        _stop(f"{folder} holds no mart; fill it: python -m training data simulate (or data collect)")


def _registry(uri: str | None) -> Registry:
    """The registry named, or the server's."""
    try:
        return open_registry(uri or registry_uri(os.environ))
    except RegistryError as cause:
        _stop(str(cause))


def _named(version: int | None) -> str:
    """A version for a sentence."""
    return "none" if version is None else f"v{version}"


def _stop(message: str) -> NoReturn:
    """Ends the command with one line on stderr."""
    typer.echo(message, err=True)
    raise typer.Exit(code=1)


if __name__ == "__main__":
    app(prog_name="python -m training")
