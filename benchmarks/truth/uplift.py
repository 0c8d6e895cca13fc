"""RecommendUpsell on randomised campaigns: the product's own fit, its ranking of customers, and what it says of itself.

Each campaign is fitted on half of its rows (penalties and verdict too) and judged on the other half, by the code that
is trained and served; five halves, and once more on all rows for the verdict of the version that would be registered.
Beside it stand a T-learner of two plain logistic regressions and a ranking by who acts anyway.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from benchmarks.report import Anchor, Report, describe_environment
from benchmarks.truth.campaigns import Campaign, read_campaigns
from methods.revenue.upsell import prepare, uplift_by_row
from methods.statistics.uplift_scores import qini_coefficient, uplift_at
from training.baseline import fit_logistic
from training.revenue.offer_logistic import inverse_chances
from training.revenue.upsell import OfferRows, UpsellModel, UpsellOptions, fit_upsell

SEEDS = range(5)
OFFER = "offer"  # the campaign's only one
PACKAGES = ("numpy", "pandas", "scikit-learn")
ANCHORS = {
    "womens.qini": Anchor(at_least=0.061, source="T-learner, logistic 0.061 ± 0.007; S 0.058, X 0.055, DR 0.050"),
    "womens.uplift_at_30": Anchor(at_least=0.067, source="T-learner, logistic"),
    "womens.personalise": Anchor(at_least=1.0, source="goal"),
    "womens.t_learner.qini": Anchor(at_least=0.054, at_most=0.068, source="0.061 ± 0.007: the same split, measured"),
    "mens.personalise": Anchor(at_most=0.0, source="goal: nothing to personalise, said by the product"),
}


def measure(folder: Path, seed: int = 0, options: UpsellOptions | None = None) -> Report:
    """Fits and judges every campaign of the folder.

    Raises: FileNotFoundError: the folder holds no data that is known here. ValueError: names a wrong column.
    """
    data = read_campaigns(folder)
    options = options or UpsellOptions()
    metrics: dict[str, float] = {}
    said: list[str] = []
    for campaign in data.campaigns:
        figures, words = _judge(campaign, options, seed)
        metrics |= {f"{campaign.name}.{name}": value for name, value in figures.items()}
        said.append(f"{campaign.name}: {words}")
    return Report(
        benchmark="truth.uplift",
        data="; ".join([data.name, *said]),
        metrics=metrics,
        anchors={name: anchor for name, anchor in ANCHORS.items() if data.is_hillstrom and name in metrics},
        environment=describe_environment(PACKAGES),
    )


def _judge(campaign: Campaign, options: UpsellOptions, seed: int) -> tuple[dict[str, float], str]:
    """Figures of one campaign, and the product's verdict in words."""
    rows = campaign.rows
    whole = fit_upsell({OFFER: rows}, campaign.schema, options, np.random.default_rng(seed))
    usable = float(len(rows.randomised().shown))
    if not whole.parameters.offers:
        return {"rows": usable, "refused": 1.0}, f"refused, {whole.refused[OFFER]}"
    parts = [_judge_split(campaign, train, test, options, seed) for train, test in _splits(campaign)]
    model = whole.parameters.offers[0]
    figures = {
        "rows": usable,
        "refused": 0.0,
        "average_uplift": model.average[0],
        "average_uplift_lower": model.average[1],
        "average_uplift_upper": model.average[2],
        **{name: float(np.mean([part[name] for part in parts])) for name in parts[0]},
        "qini_sd": float(np.std([part["qini"] for part in parts])),
        "personalise": float(model.personalised),
    }
    for name, triple in (("own_qini", model.qini), ("own_gain", model.gain), ("own_saved", model.saved)):
        figures |= {name: triple[0], f"{name}_lower": triple[1], f"{name}_upper": triple[2]}
    return figures, "personalise" if model.personalised else "nothing to personalise"


def _splits(campaign: Campaign) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """The data's own split, else five halves stratified by group and outcome."""
    if campaign.test is not None:
        return [(np.flatnonzero(~campaign.test), np.flatnonzero(campaign.test))]
    strata = 2 * campaign.rows.shown + campaign.rows.accepted
    places = np.arange(len(strata))
    halves = [train_test_split(places, test_size=0.5, stratify=strata, random_state=each) for each in SEEDS]
    return [(train.astype(np.int64), test.astype(np.int64)) for train, test in halves]


def _judge_split(
    campaign: Campaign,
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    options: UpsellOptions,
    seed: int,
) -> dict[str, float]:
    """One fit, judged on rows that it has not seen."""
    fitted, judged = campaign.rows.take(train).randomised(), campaign.rows.take(test).randomised()
    model = fit_upsell({OFFER: fitted}, campaign.schema, options, np.random.default_rng(seed))
    if not model.parameters.offers:
        raise ValueError(f"campaign {campaign.name}: half of the rows do not suffice, {model.refused[OFFER]}")
    weight = inverse_chances(judged.shown, judged.propensity)
    score = _score(model, judged)
    arms = [fit_logistic(fitted.matrix[fitted.shown == arm], fitted.accepted[fitted.shown == arm]) for arm in (0, 1)]
    held, shown = (arm(judged.matrix) for arm in arms)
    anyway = fit_logistic(fitted.matrix, fitted.accepted)(judged.matrix)
    return {
        "qini": qini_coefficient(judged.accepted, score, judged.shown, weight),
        "uplift_at_30": uplift_at(judged.accepted, score, judged.shown),
        "t_learner.qini": qini_coefficient(judged.accepted, shown - held, judged.shown, weight),
        "t_learner.uplift_at_30": uplift_at(judged.accepted, shown - held, judged.shown),
        "propensity.qini": qini_coefficient(judged.accepted, anyway, judged.shown, weight),
        "personalise_splits": float(model.parameters.offers[0].personalised),
    }


def _score(model: UpsellModel, rows: OfferRows) -> NDArray[np.float64]:
    """Uplift as it is served."""
    return uplift_by_row(prepare(rows.matrix, model.parameters.preparation), model.parameters.offers[0])
