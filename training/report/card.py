"""The model card: what a version is, what it was fitted and judged on, how good it is, what it must not be used for.

Markdown made from figures; nobody types one. Source of the headings: Mitchell et al. 2019, Model Cards for Model
Reporting.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from methods.features import FeatureSchema
from training.evaluate import Scores
from training.gates import Gate

SCORE_NAMES = {
    "auc": "AUC",
    "log_loss": "log loss",
    "brier": "Brier score",
    "ece": "calibration error",
    "lift_top_decile": "lift, top tenth",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a card says.

    Attributes:
        title: of the page.
        purpose: paragraphs on what the model answers and for whom.
        facts: name -> value, in words.
        scores: who -> scores on the same held-out rows.
        folds: when -> (who -> scores) of the cross-validation in time.
        gates: every verdict.
        schema: the features it reads.
        limits: sentences.
    """

    title: str
    purpose: Sequence[str]
    facts: Mapping[str, str]
    scores: Mapping[str, Scores]
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
    parts = [
        f"# {card.title}",
        *card.purpose,
        "## Facts",
        _table(("", ""), card.facts.items()),
        "## On rows never fitted on",
        _table(("", *SCORE_NAMES.values()), ([who, *score_cells(scores)] for who, scores in card.scores.items())),
        "## Cross-validation in time",
        _table(("from", "", "AUC", "log loss"), folds) if folds else "Too few leavers before the held-out rows.",
        "## Gates",
        _table(
            ("gate", "", "figure"), ([g.name, "passed" if g.passed else "**failed**", g.reason] for g in card.gates)
        ),
        "## What it looks at",
        "Every feature may be missing; a missing one is unknown, never zero.",
        _table(
            ("feature", "kind", "unit"),
            ([f"`{f.name}`", ", ".join(f.levels) or f.kind.value, f.unit] for f in card.schema.features),
        ),
        "## Limits",
        "\n".join(f"- {limit}" for limit in card.limits),
    ]
    return "\n\n".join(parts) + "\n"


def score_cells(scores: Scores) -> list[str]:
    """The five scores as text, in the order of SCORE_NAMES."""
    values = asdict(scores)
    return [f"{values[name]:.2f}" if name == "lift_top_decile" else f"{values[name]:.4f}" for name in SCORE_NAMES]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
