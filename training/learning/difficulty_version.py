"""A version of the model `difficulty` from the platform's answers: read, fit before a cut in time, judge after it.

Not here: the fit itself (difficulty.py); what becomes of the version (training/recipe.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from methods.learning import item_response
from methods.learning.item_response import DifficultyParameters, ItemAnswer, estimate_ability, known_item
from training.data.mart import Mart
from training.features import answers as answer_rows
from training.features.answers import answers_frame
from training.features.digest import digest_code
from training.gates import Gate
from training.learning.difficulty import Answers, fit_difficulty, predicted_losses
from training.recipe import Fitted, Recipe, Say

JUDGED_SHARE = 0.2  # of the answers, the newest
JUDGED_SUBJECTS = 4_000  # learners in skills; their log loss is known to 0.002 nats then
GOLDEN = 24
_SECONDS_PER_DAY = 86_400.0
PURPOSE = (
    "Ability of a learner in one skill with its error, and the order of the items to show next, for AdjustDifficulty.",
    "Two-parameter logistic item response model, fitted by marginal maximum likelihood on first answers.",
)
LIMITS = (
    "Ability is that of answering these items. It says nothing of what hands can do; that is checked hands-on.",
    "An ability is compared with the learners of the data it was fitted on.",
    "Items that few have answered count less, and their chances have wider intervals.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Foretold:
    """Mean log loss of later answers, nats: the version's, and that of the share right of each item; over `rows`."""

    model: float
    baseline: float
    standard_error: float  # of the difference, over subjects
    rows: int


def read_answers(mart: Mart) -> tuple[Answers, datetime]:
    """Answers of the mart; a subject is one learner in one skill. Days count from the returned moment.

    Raises: ValueError: the mart holds no answers.
    """
    return answers_of(answers_frame(mart))


def answers_of(frame: pd.DataFrame) -> tuple[Answers, datetime]:
    """Rows of `answers_frame` as the fit reads them; raises as `read_answers`."""
    if frame.empty:
        raise ValueError("answers: the mart holds none")
    begins = frame["answered_at"].min()
    subject, _ = pd.factorize(frame["user_id"] + "\0" + frame["skill_id"])
    item, item_ids = pd.factorize(frame["item_id"])
    answers = Answers(
        subject=subject.astype(np.int64),
        item=item.astype(np.int64),
        correct=frame["correct"].to_numpy(dtype=np.float64),
        day=(frame["answered_at"] - begins).dt.total_seconds().to_numpy(dtype=np.float64) / _SECONDS_PER_DAY,
        item_ids=[str(name) for name in item_ids],
    )
    return answers, begins.to_pydatetime().astimezone(UTC)


def foretell(answers: Answers, parameters: DifficultyParameters, cut: float, shares: NDArray[np.float64]) -> Foretold:
    """How well answers from day `cut` on are foretold, each from all that the subject answered before it.

    Args:
        answers: whole histories of the subjects to judge.
        parameters: the version's.
        cut: day; earlier answers only inform.
        shares: (items,) share right of each item before the cut.
    """
    ordered, losses = predicted_losses(answers, parameters)
    late = ordered.day >= cut
    share = shares[ordered.item[late]]
    baseline = -np.log(np.where(ordered.correct[late] == 1.0, share, 1.0 - share))
    saved = pd.Series(baseline - losses[late]).groupby(ordered.subject[late]).agg(["sum", "size"])
    mean = float(saved["sum"].sum() / saved["size"].sum())
    spread = float(np.sqrt(((saved["sum"] - mean * saved["size"]) ** 2).sum()) / saved["size"].sum())
    return Foretold(
        model=float(losses[late].mean()),
        baseline=float(baseline.mean()),
        standard_error=spread,
        rows=int(late.sum()),
    )


def foretells_better(found: Foretold) -> Gate:
    """Knowing the learner must help: the log loss saved against items alone is above 0 with its 90 % interval."""
    saved = found.baseline - found.model
    least = saved - 1.6449 * found.standard_error
    return Gate(
        name="foretells_better_than_items_alone",
        passed=least > 0,
        reason=f"{saved:.4f} nats an answer saved (at least {least:.4f}; above 0 is needed)",
    )


def golden_cases(
    parameters: DifficultyParameters, rng: np.random.Generator
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Requests with histories of 0 to 23 answers, and the ability that each must give."""
    names = sorted(parameters.items)
    as_of = datetime(2026, 1, 1, tzinfo=UTC)
    cases: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = []
    for count in range(GOLDEN):
        asked = [names[place] for place in rng.integers(0, len(names), count)]
        scores = rng.integers(0, 2, count).tolist()
        events = [
            {
                "skillId": "skill",
                "itemId": name,
                "correct": bool(score),
                "eventTime": _text(as_of - timedelta(days=count - place)),
            }
            for place, (name, score) in enumerate(zip(asked, scores, strict=True))
        ]
        answers = [
            ItemAnswer(item=known_item(parameters, name), score=float(score), age_days=float(count - place))
            for place, (name, score) in enumerate(zip(asked, scores, strict=True))
        ]
        request = {
            "context": {"requestId": f"golden-{count}", "asOfTime": _text(as_of)},
            "features": {"knowledge": {"history": events}},
            "skillId": "skill",
            "mode": "DIFFICULTY_MODE_ASSESSMENT",
            "candidateItems": [{"itemId": names[0]}],
        }
        cases.append((request, _answer(answers, parameters)))
    return cases


def fit_version(mart: Mart, rng: np.random.Generator, say: Say) -> Fitted:
    """Fits items to what was answered before a cut in time, and foretells what came after.

    Raises: ValueError: too few answers.
    """
    say("reading answers")
    answers, begins = read_answers(mart)
    cut = float(np.quantile(answers.day, 1.0 - JUDGED_SHARE))
    early = answers.take(answers.day < cut)
    say(f"fitting items to {early.day.size:,} answers")
    fitted = fit_difficulty(early, rng=rng)
    say("foretelling later answers")
    late = np.unique(answers.subject[answers.day >= cut])
    judged = answers.take(np.isin(answers.subject, rng.permutation(late)[:JUDGED_SUBJECTS]))
    found = foretell(judged, fitted.parameters, cut, _shares(early))
    half_life = fitted.parameters.half_life_days
    return Fitted(
        parameters=fitted.parameters.to_json(),
        golden=golden_cases(fitted.parameters, rng),
        figures={"version": {"log_loss": found.model}, "share of the item": {"log_loss": found.baseline}},
        gates=[foretells_better(found)],
        observations=fitted.parameters.observations,
        data_time=begins + timedelta(days=cut),
        facts={
            "items": f"{len(fitted.parameters.items):,}",
            "judged on": f"{found.rows:,} answers after the cut",
            "half-life of an answer": f"{half_life:g} days" if half_life else "none: answers were not seen to age",
            "rounds of EM": f"{fitted.rounds}",
        },
        purpose=PURPOSE,
        limits=LIMITS,
    )


def _shares(answers: Answers) -> NDArray[np.float64]:
    """Share right of each item, drawn to one half by two answers."""
    width = len(answers.item_ids)
    right = np.bincount(answers.item, weights=answers.correct, minlength=width)
    return np.asarray((right + 1.0) / (np.bincount(answers.item, minlength=width) + 2.0))


def _answer(answers: Sequence[ItemAnswer], parameters: DifficultyParameters) -> Mapping[str, Any]:
    ability = estimate_ability(answers, parameters)
    lower, upper = ability.interval(parameters.level)
    return {
        "ability": {"value": ability.mean, "lower": lower, "upper": upper},
        "abilityStandardError": ability.standard_error,
    }


def _text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _expressions() -> str:
    sources = (answer_rows.__file__, __file__, item_response.__file__)
    return digest_code([Path(file).read_text(encoding="utf-8") for file in sources])


RECIPE = Recipe(model="difficulty", fit=fit_version, expressions=_expressions)
