"""The model card: what a version is, what it was fitted and judged on, how good it is, what it must not be used for.

Markdown made from figures; nobody types one. Source of the headings: Mitchell et al. 2019, Model Cards for Model
Reporting.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from methods.features import FeatureSchema
from training.evaluate import Scores
from training.gates import Gate
from training.slices import ROWS, Slices

SCORE_NAMES = {
    "auc": "AUC",
    "log_loss": "log loss",
    "brier": "Brier score",
    "ece": "calibration error",
    "lift_top_decile": "lift, top tenth",
}


Part = str | tuple[Sequence[str], Sequence[Sequence[str]]]
"""What stands under a heading: a paragraph, or a table's head and rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a card says.

    Attributes:
        title: of the page.
        purpose: paragraphs on what the model answers and for whom.
        facts: name -> value, in words.
        scores: who -> scores on the same held-out rows.
        slices: parts of those rows.
        folds: when -> (who -> scores) of the cross-validation in time.
        gates: every verdict.
        schema: the features it reads.
        limits: sentences.
    """

    title: str
    purpose: Sequence[str]
    facts: Mapping[str, str]
    scores: Mapping[str, Scores]
    slices: Slices
    folds: Mapping[str, Mapping[str, Scores]]
    gates: Sequence[Gate]
    schema: FeatureSchema
    limits: Sequence[str]


def render_card(card: Card) -> str:
    """The page."""
    folds = [
        [when, who, f"{scores.auc:.4f}", f"{scores.log_loss:.4f}"]
        for when, pair in card.folds.items()
        for who, scores in pair.items()
    ]
    features = [[f"`{f.name}`", ", ".join(f.levels) or f.kind.value, f.unit] for f in card.schema.features]
    return page(
        card.title,
        card.purpose,
        facts=card.facts,
        parts={
            "On rows never fitted on": (
                ("", *SCORE_NAMES.values()),
                [[who, *score_cells(scores)] for who, scores in card.scores.items()],
            ),
            **slice_parts(card.slices),
            "Cross-validation in time": (("from", "", "AUC", "log loss"), folds)
            if folds
            else "Too few leavers before the held-out rows.",
            "What it looks at": (("feature (may be missing: unknown, never zero)", "kind", "unit"), features),
        },
        gates=card.gates,
        limits=card.limits,
    )


def page(
    title: str,
    purpose: Sequence[str],
    *,
    facts: Mapping[str, str],
    parts: Mapping[str, Part],
    gates: Sequence[Gate],
    limits: Sequence[str],
) -> str:
    """A model's card in markdown: purpose, facts, the parts under their headings, gates, limits."""
    verdicts = [[gate.name, "passed" if gate.passed else "**failed**", gate.reason] for gate in gates]
    lines = [f"# {title}", *purpose, "## Facts", _table(("", ""), facts.items())]
    for heading, part in parts.items():
        lines += [f"## {heading}", part if isinstance(part, str) else _table(*part)]
    lines += ["## Gates", _table(("gate", "", "figure"), verdicts)]
    lines += ["## Limits", "\n".join(f"- {limit}" for limit in limits)]
    return "\n\n".join(lines) + "\n"


def slice_parts(slices: Slices) -> Mapping[str, Part]:
    """A table by each thing that rows were parted by."""
    return {f"By {what}": figures_table(what, rows) for what, rows in slices.items()}


def figures_table(what: str, figures: Mapping[str, Mapping[str, float]]) -> Part:
    """A row for each of `figures`, a column for each name that any of them has."""
    names = list(dict.fromkeys(name for row in figures.values() for name in row))
    cells = [[_figure(name, row.get(name)) for name in names] for row in figures.values()]
    return (what, *names), [[who, *row] for who, row in zip(figures, cells, strict=True)]


def score_cells(scores: Scores) -> list[str]:
    """The five scores as text, in the order of SCORE_NAMES."""
    values = asdict(scores)
    return [f"{values[name]:.2f}" if name == "lift_top_decile" else f"{values[name]:.4f}" for name in SCORE_NAMES]


def _figure(name: str, value: float | None) -> str:
    """A figure as text; empty where there is none."""
    if value is None or not math.isfinite(value):
        return ""
    return f"{value:,.0f}" if name == ROWS else f"{value:.4f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
