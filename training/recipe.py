"""What fitting a model means for every model that answers requests as a whole: a recipe goes in, a version comes out.

A recipe reads the mart and gives parameters, golden requests, figures and verdicts; this shell writes the artifact,
logs the run and registers the version. A recipe decides nothing about registries, and nothing here knows a model.
Not here: the recipes (training/<module>/<model>.py); churn, whose rows and trees have a shell of their own
(training/revenue/fitting.py).
"""

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types; comes with scikit-learn

from training.artifact import Provenance, canonical_json, write_artifact
from training.data.mart import Mart
from training.feature_sets import NO_FIELDS, by_id_expressions
from training.gates import Gate
from training.register import Registration, RunRecord, Verdict, record_run, register_version
from training.registry import Registry
from training.report.card import figures_table, page, slice_parts
from training.slices import Slices

GOLDEN_TOLERANCE = 1e-6  # parameters are JSON numbers and the arithmetic is float64 on both sides

Say = Callable[[str], None]
"""Is told each step in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What a recipe made.

    Attributes:
        parameters: of `parameters.json`; methods/<module> reads them back.
        golden: (request as JSON, the parts of its answer that must match), twenty at least.
        figures: who -> name -> figure, on data that was not fitted on; the first is the model, then what it is held to.
        gates: every verdict.
        slices: parts of the data behind `figures`.
        observations: rows fitted on.
        data_time: newest moment fitted on, aware UTC.
        facts: name -> value, in words, for the card.
        purpose: paragraphs on what the model answers and for whom.
        limits: sentences.
        currency: ISO 4217 code of every amount in the parameters; None without one.
        files: further files of the artifact, by name.
    """

    parameters: Mapping[str, Any]
    golden: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]
    figures: Mapping[str, Mapping[str, float]]
    gates: Sequence[Gate]
    observations: int
    data_time: datetime
    facts: Mapping[str, str]
    purpose: Sequence[str]
    limits: Sequence[str]
    currency: str | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    slices: Slices = field(default_factory=dict)

    @property
    def failures(self) -> tuple[str, ...]:
        """Why the gates refuse it; empty when they do not."""
        return tuple(f"{gate.name}: {gate.reason}" for gate in self.gates if not gate.passed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one model is fitted.

    Attributes:
        model: its registered name.
        fit: mart, source of chance and teller to what came of it. Raises ValueError: the data do not suffice.
        expressions: digest of the code that computes what it is fitted on; a model that is asked by id carries that of
            the features by id instead (feature_sets.py).
    """

    model: str
    fit: Callable[[Mart, np.random.Generator, Say], Fitted]
    expressions: Callable[[], str]


def fit_recipe(
    recipe: Recipe, mart: Mart, registry: Registry, *, seed: int, now: datetime, progress: Say
) -> tuple[Fitted, Registration]:
    """Fit, write the artifact, log the run, register the version.

    Args:
        recipe: the model's.
        mart: the data.
        registry: where the version goes.
        seed: of everything drawn.
        now: when the version is made, aware UTC.
        progress: is told each step.
    Raises: ValueError: the data do not suffice for a fit.
    """
    with threadpool_limits(limits=1):  # two threads that wait for each other turned a second into half a minute
        fitted = recipe.fit(mart, np.random.default_rng(seed), progress)
    provenance = Provenance(
        data_version=mart.data_version,
        data_time=fitted.data_time,
        observations=fitted.observations,
        created_at=now,
        currency=fitted.currency,
        expressions=by_id_expressions(recipe.model) or recipe.expressions(),
    )
    files = {
        **fitted.files,
        "parameters.json": canonical_json(fitted.parameters),
        "golden.json": canonical_json(
            {
                "tolerance": GOLDEN_TOLERANCE,
                "cases": [{"request": request, "answer": answer} for request, answer in fitted.golden],
            }
        ),
        "card.md": _card(recipe.model, fitted, mart, now).encode(),
    }
    with tempfile.TemporaryDirectory(prefix=f"fit-{recipe.model}-") as scratch:
        progress("writing the artifact")
        folder = Path(scratch, "artifact")
        write_artifact(folder, recipe.model, NO_FIELDS, provenance, files)
        progress("registering the version")
        run_id = record_run(registry, _record(recipe, fitted, mart, seed, folder / "card.md", now))
        registration = register_version(
            registry,
            folder,
            run_id=run_id,
            verdict=Verdict(passed=not fitted.failures, reasons=fitted.failures),
            tags={"data.version": mart.data_version},
            description=f"Fitted on {fitted.observations:,} rows to {fitted.data_time:%Y-%m-%d}; how it did: card.md.",
        )
    return fitted, registration


def _card(model: str, fitted: Fitted, mart: Mart, now: datetime) -> str:
    return page(
        model,
        fitted.purpose,
        facts={
            "data": f"{mart.source}, version `{mart.data_version[:16]}`",
            "fitted on": f"{fitted.observations:,} rows up to {fitted.data_time:%Y-%m-%d}",
            **fitted.facts,
            "made": f"{now:%Y-%m-%d %H:%M} UTC",
        },
        parts={
            "On data never fitted on": figures_table("", fitted.figures)
            if fitted.figures
            else "The data gave nothing to judge.",
            **slice_parts(fitted.slices),
        },
        gates=fitted.gates,
        limits=fitted.limits,
    )


def _record(recipe: Recipe, fitted: Fitted, mart: Mart, seed: int, card: Path, now: datetime) -> RunRecord:
    return RunRecord(
        name=f"fit {recipe.model}",
        began=now,
        params={"seed": str(seed)},
        metrics={
            # MLflow refuses whatever else a name in words holds: commas, apostrophes.
            f"{re.sub(r'[^A-Za-z0-9_]+', '_', who)}.{name}": float(value)
            for who, figures in fitted.figures.items()
            for name, value in figures.items()
        },
        tags={
            "data.version": mart.data_version,
            "data.source": mart.source,
            "data.time": mart.data_time.isoformat(),
            "data.rows_fitted": str(fitted.observations),
        },
        files=[(card, "")],
    )
