"""The tables a training command prints."""

from collections.abc import Iterable, Mapping

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from training.data.collect import CollectReport
from training.evaluate import Scores
from training.gates import Gate
from training.register import Registration
from training.report.card import SCORE_NAMES, score_cells
from training.revenue.judging import TimeFold


def print_scores(console: Console, title: str, scores: Mapping[str, Scores]) -> None:
    """Who scored what on the same rows."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in SCORE_NAMES.values():
        table.add_column(name, justify="right")
    for who, found in scores.items():
        table.add_row(who, *score_cells(found))
    console.print(table)


def print_figures(console: Console, title: str, figures: Mapping[str, Mapping[str, float]]) -> None:
    """Who did how, in figures of the model's own."""
    names = list(dict.fromkeys(name for found in figures.values() for name in found))
    table = Table(title=title, title_justify="left")
    for name in ("", *names):
        table.add_column(name, justify="right" if name else "left")
    for who, found in figures.items():
        table.add_row(who, *(f"{found[name]:.4f}" if name in found else "" for name in names))
    console.print(table)


def print_folds(console: Console, folds: Iterable[TimeFold]) -> None:
    """Cross-validation in time."""
    table = Table(title="cross-validation in time: fitted on what was known at the start", title_justify="left")
    for name in ("from", "rows", "left", "AUC", "logistic", "log loss", "logistic"):
        table.add_column(name, justify="right")
    for fold in folds:
        aucs, losses = (fold.model.auc, fold.logistic.auc), (fold.model.log_loss, fold.logistic.log_loss)
        counts = (f"{fold.start:%Y-%m-%d}", f"{fold.rows:,}", str(fold.events))
        table.add_row(*counts, *(f"{value:.4f}" for value in (*aucs, *losses)))
    console.print(table)


def print_gates(console: Console, gates: Iterable[Gate]) -> None:
    """Every verdict with its figure."""
    lines = []
    for gate in gates:
        mark = Text("passed ", style="green") if gate.passed else Text("failed ", style="bold red")
        lines.append(Text.assemble(mark, f"{gate.name}: {gate.reason}"))
    console.print(Group(*lines))


def print_registration(console: Console, registration: Registration) -> None:
    """Which version it became, with which alias; without one, why, and the line that would set it."""
    name = f"{registration.model} v{registration.version}"
    if registration.alias is not None:
        console.print(f"[bold]{name}[/bold] registered with alias [bold]{registration.alias}[/bold]", highlight=False)
        console.print("its card and plots: make ui, Model training, its source run, Artifacts", highlight=False)
        return
    console.print(f"[bold]{name}[/bold] registered without an alias: {registration.reason}", highlight=False)
    console.print(f"to set it by hand: {registration.next_line}", highlight=False, soft_wrap=True)


def print_collected(console: Console, report: CollectReport) -> None:
    """What became of each table's rows."""
    table = Table(title=f"mart from {report.mart.source}, {report.mart.data_version[:16]}", title_justify="left")
    for name in ("table", "read", "added", "in the mart", "set aside", "reasons"):
        table.add_column(name, justify="left" if name in {"table", "reasons"} else "right")
    for name, found in report.tables.items():
        reasons = ", ".join(f"{reason} {count}" for reason, count in found.reasons.items())
        counts = (f"{number:,}" for number in (found.read, found.added, found.total, found.quarantined))
        table.add_row(name, *counts, reasons)
    console.print(table)
