"""OptimizeSchedule's memory on a log of practice: what forgetting explains, and the curve of recall by delay.

Two thirds of the users, drawn by the seed, fit the model of training.learning.schedule; the others' answers are
foretold one by one from their earlier ones, by the fold that the server runs. Beside it stands the same model without
forgetting, fitted in the same way on the same rows. Judged are answers a day or more after the last one on the skill,
as published figures of memory models are: within a session nothing is forgotten.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Anchor, Report, describe_environment
from benchmarks.truth.practice_log import read_practice_log
from methods.statistics.scores import auc, calibration_error, log_loss
from training.learning.schedule import Foretold, PracticeLog, ScheduleOptions, fit_memory, foretell

PACKAGES = ("numpy", "scipy", "pandas")
LEAST_DELAY_DAYS = 1.0
LEAST_JUDGED = 200  # fewer answers after a day or more: all repeated answers are judged, and the report says so
LEAST_USERS = 30
DRAWS = 500  # of users, for the interval
DELAYS = (  # the bins of the published curve, upper ends in days
    ("up_to_4_minutes", 4.0 / 1_440.0),
    ("up_to_1_hour", 1.0 / 24.0),
    ("up_to_1_day", 1.0),
    ("up_to_3_days", 3.0),
    ("up_to_7_days", 7.0),
    ("up_to_30_days", 30.0),
    ("over_30_days", np.inf),
)
LEAST_IN_BIN = 30
ANCHORS = {"improvement": Anchor(at_least=0.02, source="goal: below the same model without forgetting")}
Floats = NDArray[np.float64]


def measure(folder: Path, seed: int = 0, options: ScheduleOptions | None = None) -> Report:
    """Fits on two thirds of the users, judges on the others.

    Raises:
        FileNotFoundError: the folder holds no log.
        ValueError: a column is missing or wrong, too few users, or nobody ever came back to a skill.
    """
    log = read_practice_log(folder)
    users = np.unique(log.learner)
    if users.size < LEAST_USERS:
        raise ValueError(f"{users.size} users; at least {LEAST_USERS} are needed to hold a third of them out")
    rng = np.random.default_rng(seed)
    is_held_out = np.isin(log.learner, rng.permutation(users)[: users.size // 3])
    fitted_on, held_out = log.take(~is_held_out), log.take(is_held_out)
    with_forgetting = fit_memory(fitted_on, options, np.random.default_rng(seed))
    without = fit_memory(fitted_on, options, np.random.default_rng(seed), forgets=False)
    foretold = foretell(held_out, with_forgetting.parameters)
    plain = foretell(held_out, without.parameters).chance
    judged = foretold.elapsed_days >= LEAST_DELAY_DAYS
    after = "a day or more after the last"
    if judged.sum() < LEAST_JUDGED:
        judged, after = np.isfinite(foretold.elapsed_days), "after another one; hardly any came after a day"
    if not judged.any():
        raise ValueError("no held-out user came back to a skill; nothing can be judged")
    fitted = with_forgetting.parameters
    return Report(
        benchmark="truth.memory",
        data=f"{log.day.size:,} answers, {users.size:,} users; judged {judged.sum():,} held out, {after} on the skill",
        metrics={
            **_gain(held_out, foretold.chance, plain, judged, rng),
            **_everywhere(held_out, foretold, plain),
            **_curve(held_out, foretold, plain),
            "decay": fitted.decay,
            "stability_days.knowledge": fitted.stability_days[0],
            "stability_days.psychomotor": fitted.stability_days[1],
            "stability_days.team": fitted.stability_days[2],
            "answers.judged": float(judged.sum()),
        },
        anchors=ANCHORS,
        environment=describe_environment(PACKAGES),
    )


def _gain(
    log: PracticeLog, chance: Floats, plain: Floats, judged: NDArray[np.bool_], rng: np.random.Generator
) -> dict[str, float]:
    """Both losses on the judged answers and the share saved, with a 90 % interval over users."""
    outcome = log.correct[judged]
    _, user = np.unique(log.learner[judged], return_inverse=True)
    losses = [_losses(outcome, column[judged]) for column in (chance, plain)]
    by_user = np.stack([np.bincount(user, weights=loss) for loss in losses])  # (2, users)
    drawn = rng.multinomial(by_user.shape[1], np.full(by_user.shape[1], 1.0 / by_user.shape[1]), size=DRAWS)
    sums = drawn @ by_user.T  # (draws, 2)
    low, high = np.quantile(1.0 - sums[:, 0] / sums[:, 1], [0.05, 0.95])
    ours, theirs = (log_loss(outcome, column[judged]) for column in (chance, plain))
    return {
        "log_loss": ours,
        "log_loss_no_forgetting": theirs,
        "log_loss_no_forgetting_shifted": log_loss(outcome, _shifted(outcome, plain[judged])),
        "improvement": 1.0 - ours / theirs,
        "improvement_lower": float(low),
        "improvement_upper": float(high),
        "auc": auc(outcome, chance[judged]),
        "auc_no_forgetting": auc(outcome, plain[judged]),
        "ece": calibration_error(outcome, chance[judged]),
        "ece_no_forgetting": calibration_error(outcome, plain[judged]),
    }


def _everywhere(log: PracticeLog, foretold: Foretold, plain: Floats) -> dict[str, float]:
    """Losses on every held-out answer, massed and first ones too."""
    return {
        "all.log_loss": log_loss(log.correct, foretold.chance),
        "all.log_loss_no_forgetting": log_loss(log.correct, plain),
    }


def _curve(log: PracticeLog, foretold: Foretold, plain: Floats) -> dict[str, float]:
    """Share right again after a right answer, by delay: seen, foretold, foretold without forgetting."""
    figures: dict[str, float] = {}
    before = -1.0
    for name, end in DELAYS:
        inside = (foretold.elapsed_days > before) & (foretold.elapsed_days <= end) & (foretold.last_correct == 1.0)
        before = end
        if inside.sum() >= LEAST_IN_BIN:
            figures[f"recall.{name}"] = float(log.correct[inside].mean())
            figures[f"recall_foretold.{name}"] = float(foretold.chance[inside].mean())
            figures[f"recall_no_forgetting.{name}"] = float(plain[inside].mean())
    return figures


def _shifted(outcome: Floats, chance: Floats) -> Floats:
    """The chances moved by the one constant in log-odds that fits these outcomes best: a correction with hindsight."""
    logit, shift = np.log(chance / (1.0 - chance)), 0.0
    for _ in range(20):  # Newton; a smooth one-dimensional concave likelihood
        moved = 1.0 / (1.0 + np.exp(-(logit + shift)))
        shift += float((outcome - moved).sum() / (moved * (1.0 - moved)).sum())
    return np.asarray(1.0 / (1.0 + np.exp(-(logit + shift))), dtype=np.float64)


def _losses(outcome: Floats, chance: Floats) -> Floats:
    """(n,) log losses, nats."""
    return np.asarray(-np.log(np.where(outcome > 0.5, chance, 1.0 - chance)), dtype=np.float64)
