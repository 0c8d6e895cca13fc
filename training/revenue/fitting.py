"""One training run of churn, from the mart to a registered version with its alias.

The shell around judging.py: it reads, calls, writes, and decides nothing but the order. Everything goes through a
temporary folder; the registry gets a finished artifact or nothing.
"""

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

from methods.features import schema_of
from paedsresus.ml.v1 import revenue_pb2
from training.artifact import Provenance, write_artifact
from training.data.mart import Mart
from training.features.churn import churn_frame, expressions_digest, mart_currency
from training.register import Registration, RunRecord, Verdict, record_run, register_version
from training.registry import Registry
from training.report.card import Card, render_card
from training.report.plots import draw_plots
from training.revenue.champion import Champion, fetch_version
from training.revenue.churn import ChurnOptions
from training.revenue.churn_cause import LEAST
from training.revenue.churn_files import churn_files
from training.revenue.judging import Judgement, judge_churn
from training.revenue.retention import LEAST_ARM, best_effect, read_occasions

MODEL = "churn"
SCHEMA = schema_of(revenue_pb2.PredictChurnFeatures.DESCRIPTOR)
PURPOSE = (
    "Chance that a subscriber has left by 1 to 364 days ahead, for PredictChurn and BatchPredictChurn.",
    "One score from boosted trees, a discrete-time hazard over 28-day periods, calibrated on held-out scores.",
    "For deciding whom to look after. It says who is likely to leave, not whom an offer would keep.",
)
LIMITS = (
    "An interval holds for the mean of subscribers with that score, as far as chance in who was drawn goes.",
    "A change of the market after the last landmark is unknown to values and intervals alike.",
    "The order of subscribers is fitted on the next 28 days; at later horizons the same order is used, weighed less.",
    "Contributions of features are log-odds before calibration, and no causes.",
    "An offer's effect on staying is one for all subscribers to whom chance showed it, over 84 days.",
    "The voluntary share is of leaving within 28 days; a payment that fails later is not foreseen from today.",
    "Prices in another currency than the version's are missing to it.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedVersion:
    """What a run came to."""

    judgement: Judgement
    registration: Registration
    run_id: str
    champion: Champion | None


def read_frame(mart: Mart) -> tuple[pd.DataFrame, str | None]:
    """Every landmark up to the newest event, and the currency of the prices."""
    connection = mart.connect()
    try:
        currency = mart_currency(connection.tables)
    finally:
        connection.backend.disconnect()
    return churn_frame(mart, as_of=mart.data_time), currency


def fit_and_register(
    mart: Mart,
    registry: Registry,
    options: ChurnOptions,
    seed: int,
    now: datetime,
    *,
    progress: Callable[[str], None],
) -> FittedVersion:
    """Reads, fits, judges, registers.

    Args:
        mart: the data.
        registry: where the version goes and where the champion comes from.
        options: how to fit.
        seed: of folds, trees and draws.
        now: when the version is made, aware UTC.
        progress: is told each step in words.
    Raises: ValueError: the data do not suffice for a fit, or the champion's files are not those registered.
    """
    progress("reading features at every landmark")
    table, currency = read_frame(mart)
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory(prefix="fit-churn-") as scratch:
        progress("fetching the champion")
        champion = fetch_version(registry, MODEL, Path(scratch, "champion"))
        judgement = judge_churn(
            table,
            SCHEMA,
            options,
            rng,
            champion=None if champion is None else (champion.name, champion.answer),
            progress=progress,
        )
        progress("asking randomised offers what they changed")
        judgement = _with_effect(judgement, mart, rng.spawn(1)[0])
        progress("writing the artifact")
        provenance = Provenance(
            data_version=mart.data_version,
            data_time=judgement.cut.to_pydatetime(),  # nothing later was fitted on
            observations=len(judgement.fitted),
            created_at=now,
            currency=currency,
            expressions=expressions_digest(),
        )
        card = render_card(describe(judgement, mart, provenance)).encode()
        files = churn_files(judgement.model, judgement.fitted, judgement.table, currency, rng)
        folder = Path(scratch, "artifact")
        write_artifact(folder, MODEL, SCHEMA, provenance, {**files, "card.md": card})
        curves = [(contender.name, contender.probability) for contender in judgement.contenders]
        pictures = _write(Path(scratch, "plots"), draw_plots(judgement.outcome, curves))
        progress("registering the version")
        logged = [(picture, "plots") for picture in pictures]
        record = _record(judgement, options, mart, seed, [*logged, (folder / "card.md", "")], now)
        run_id = record_run(registry, record)
        verdict = Verdict(passed=not judgement.failures, reasons=judgement.failures)
        description = (
            f"Fitted on {len(judgement.fitted):,} landmarks before {judgement.cut:%Y-%m-%d}. "
            "How it did: card.md and plots among the artifacts of its source run."
        )
        tags = {"data.version": mart.data_version}
        registration = register_version(
            registry, folder, run_id=run_id, verdict=verdict, tags=tags, description=description
        )
    return FittedVersion(judgement=judgement, registration=registration, run_id=run_id, champion=champion)


def describe(judgement: Judgement, mart: Mart, provenance: Provenance) -> Card:
    """The card's contents."""
    model = judgement.model
    return Card(
        title="churn",
        purpose=PURPOSE,
        facts={
            "data": f"{mart.source}, version `{mart.data_version[:16]}`",
            "fitted on": f"{len(judgement.fitted):,} landmarks known by {judgement.cut:%Y-%m-%d}, "
            f"{judgement.fitted.events:,} leavings within 28 days",
            "judged on": f"{len(judgement.outcome):,} landmarks from {judgement.cut:%Y-%m-%d} on, "
            f"{int(judgement.outcome.sum()):,} leavings",
            "trees": f"{model.chosen.rounds} of depth {model.chosen.depth}, chosen by cross-validation over subjects",
            "slopes by period": ", ".join(f"{slope:.2f}" for slope in model.parameters.slopes),
            "offsets by period": ", ".join(f"{offset:.2f}" for offset in model.parameters.offsets),
            "calibration curve": f"{len(model.parameters.calibration_margins)} knots"
            if model.parameters.calibration_margins
            else "a straight line did as well",
            "causes of leaving": _causes(judgement),
            "what keeps subscribers": _effect(judgement),
            "currency": provenance.currency or "no prices",
            "made": f"{provenance.created_at:%Y-%m-%d %H:%M} UTC",
        },
        scores={contender.name: contender.scores for contender in judgement.contenders},
        slices=judgement.slices,
        folds={
            f"{fold.start:%Y-%m-%d}": {"trees": fold.model, "plain logistic": fold.logistic} for fold in judgement.folds
        },
        gates=judgement.gates,
        schema=model.schema,
        limits=LIMITS,
    )


def _with_effect(judgement: Judgement, mart: Mart, rng: np.random.Generator) -> Judgement:
    """The judged model with what randomised offers before its cut changed about staying, where there were enough."""
    effect = best_effect(read_occasions(mart, judgement.cut), rng)
    model = judgement.model
    return replace(judgement, model=replace(model, parameters=replace(model.parameters, intervention=effect)))


def _effect(judgement: Judgement) -> str:
    """The best offer's effect, in words."""
    effect = judgement.model.parameters.intervention
    if effect is None:
        return (
            f"fewer than {LEAST_ARM} randomised occasions of either kind for every offer: no intervention is answered"
        )
    return (
        f"{effect.offer_id}: chance of staying 84 days {effect.value:+.3f} "
        f"({effect.lower:+.3f} to {effect.upper:+.3f}) by randomised offers; "
        f"{'above 0, sure enough to treat' if effect.treat else 'not surely above 0: nobody is to be treated for it'}"
    )


def _causes(judgement: Judgement) -> str:
    """What the version says of causes, and how well it did, in words."""
    cause, told = judgement.model.parameters.cause, judgement.cause
    if cause is None:
        return f"fewer than {LEAST} leavings of either cause are known: no voluntary share is answered"
    columns = ", ".join(each.column for each in cause.steps) or "no column told causes apart: one share for all"
    if told is None:
        return columns
    return (
        f"{columns}; on {told.rows:,} later leavings AUC {told.auc:.3f}, log loss {told.log_loss:.3f} "
        f"({told.overall_log_loss:.3f} by the overall share)"
    )


def _record(
    judgement: Judgement, options: ChurnOptions, mart: Mart, seed: int, files: list[tuple[Path, str]], now: datetime
) -> RunRecord:
    """What MLflow keeps of the run."""
    model = judgement.model
    keys = ("test.", *(["champion."] if len(judgement.contenders) > 2 else []), "logistic.")
    metrics = {
        name: value
        for key, contender in zip(keys, judgement.contenders, strict=True)
        for name, value in contender.scores.as_metrics(key).items()
    }
    for name in ("auc", "log_loss") if judgement.folds else ():
        metrics[f"cv.{name}"] = float(np.mean([getattr(fold.model, name) for fold in judgement.folds]))
        metrics[f"cv_logistic.{name}"] = float(np.mean([getattr(fold.logistic, name) for fold in judgement.folds]))
    if judgement.cause is not None:
        metrics["cause.auc"], metrics["cause.log_loss"] = judgement.cause.auc, judgement.cause.log_loss
    if judgement.against_champion is not None:
        metrics["champion.log_loss_saved"] = judgement.against_champion.value
    return RunRecord(
        name="fit churn",
        began=now,
        params={
            **{name: str(value) for name, value in asdict(options).items()},
            "seed": str(seed),
            "depth": str(model.chosen.depth),
            "trees": str(model.chosen.rounds),
            "held_out_from": f"{judgement.cut:%Y-%m-%d}",
        },
        metrics=metrics,
        tags={
            "data.version": mart.data_version,
            "data.source": mart.source,
            "data.time": mart.data_time.isoformat(),
            "data.rows_fitted": str(len(judgement.fitted)),
            "data.rows_judged": str(len(judgement.outcome)),
            "feature_set": model.schema.feature_set(expressions_digest()),
        },
        files=files,
    )


def _write(folder: Path, files: dict[str, bytes]) -> list[Path]:
    """Writes files and says where they are."""
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in files]
