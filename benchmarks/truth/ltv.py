"""CalculateLtv on real purchases: fitted on the first part of the time, held against what came in the second.

The product's fit (training/revenue/ltv.py) and the product's answer (methods/revenue/ltv.py); beside them the published
models by plain maximum likelihood, and what knowing next to nothing gives. Then the intervals are held against the
truth: customers are drawn from what was fitted, fitted anew, and it is counted how often the expectation that is
really theirs lies within.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Anchor, Report, describe_environment
from benchmarks.truth.ltv_customers import draw_customers
from benchmarks.truth.purchase_files import MINOR_UNITS, PurchaseSet, read_purchase_sets
from methods.revenue.ltv import PreparedPurchases, expected_transactions, prepare_purchases, value_of_purchases
from methods.revenue.ltv_parameters import PurchaseParameters
from methods.revenue.purchases import Histories, PurchaseModel, expected_value
from methods.revenue.subscriptions import Bounded
from training.revenue.ltv import LtvOptions, fit_ltv, purchase_parameters
from training.revenue.purchases import fit_purchases, fit_values

PACKAGES = ("numpy", "pandas", "scipy")
COVERAGE_TRIES = 200  # customers of one try stand or fall together: a share of 0.9 is then known to +- 0.02
COVERAGE_CUSTOMERS = 5_000  # sets larger than this are not drawn anew: it would take minutes
CDNOW = {"sample": 2_357, "master": 23_570}  # customers by which CDNOW's two sets are known
ANCHORS = {
    "sample.bg_nbd.r": Anchor(at_least=0.2425, at_most=0.2435, source="published 0.243"),
    "sample.bg_nbd.alpha": Anchor(at_least=4.4135, at_most=4.4145, source="published 4.414"),
    "sample.bg_nbd.a": Anchor(at_least=0.7925, at_most=0.7935, source="published 0.793"),
    "sample.bg_nbd.b": Anchor(at_least=2.4255, at_most=2.4265, source="published 2.426"),
    "sample.gamma_gamma.p": Anchor(at_least=6.245, at_most=6.255, source="published 6.25"),
    "sample.gamma_gamma.q": Anchor(at_least=3.735, at_most=3.745, source="published 3.74"),
    "sample.gamma_gamma.v": Anchor(at_least=15.435, at_most=15.445, source="published 15.44"),
    "sample.pareto_nbd.r": Anchor(at_least=0.5525, at_most=0.5535, source="published 0.553"),
    "sample.pareto_nbd.alpha": Anchor(at_least=10.5775, at_most=10.5785, source="published 10.578"),
    "sample.pareto_nbd.s": Anchor(at_least=0.6055, at_most=0.6065, source="published 0.606"),
    "sample.transactions.mae": Anchor(at_most=0.755, source="Pareto/NBD; BG/NBD 0.786"),
    "sample.transactions.rmse": Anchor(at_most=1.603, source="Pareto/NBD; BG/NBD 1.608"),
    "sample.transactions.correlation": Anchor(at_least=0.630, source="Pareto/NBD; BG/NBD 0.626"),
    "sample.total_error": Anchor(at_least=-0.13, at_most=0.13, source="Pareto/NBD and BG/NBD -0.12"),
    "sample.spend.mae": Anchor(at_most=30.4, source="BG/NBD and Gamma-Gamma"),
    "sample.spend.correlation": Anchor(at_least=0.565, source="BG/NBD and Gamma-Gamma"),
    "sample.spend.total_error": Anchor(at_least=-0.16, at_most=0.16, source="BG/NBD and Gamma-Gamma -0.16"),
    "master.transactions.mae": Anchor(at_most=0.819, source="BG/NBD"),
    "master.transactions.rmse": Anchor(at_most=1.733, source="BG/NBD"),
    "master.transactions.correlation": Anchor(at_least=0.6685, source="BG/NBD"),
    "master.total_error": Anchor(at_least=-0.14, at_most=0.14, source="BG/NBD -0.14"),
    "master.spend.mae": Anchor(at_most=32.7, source="BG/NBD and Gamma-Gamma"),
    "master.spend.correlation": Anchor(at_least=0.6685, source="BG/NBD and Gamma-Gamma"),
    "master.spend.total_error": Anchor(at_least=-0.17, at_most=0.17, source="BG/NBD and Gamma-Gamma -0.17"),
}
COVERAGE_ANCHOR = Anchor(at_least=0.87, at_most=0.93, source="the interval's own level, 0.9")


def measure(folder: Path, seed: int = 0, *, tries: int = COVERAGE_TRIES) -> Report:
    """Fits and judges every set of the folder.

    Args:
        folder: the data.
        seed: of the customers drawn for the coverage.
        tries: how many times they are drawn; 0 for never.
    Raises: FileNotFoundError, ValueError: the folder's files are not as documented, or hold too few customers.
    """
    sets = read_purchase_sets(folder)
    metrics: dict[str, float] = {}
    anchors: dict[str, Anchor] = {}
    for data in sets:
        try:
            figures = _judge(data)
        except ValueError as cause:
            raise ValueError(f"{data.name}: {cause}") from cause
        if tries and len(data.histories) <= COVERAGE_CUSTOMERS:
            covered = measure_coverage(data.histories, data.weeks, np.random.default_rng(seed), tries=tries)
            figures |= {f"coverage.{name}": value for name, value in covered.items()}
            anchors |= {f"{data.name}.coverage.{name}": COVERAGE_ANCHOR for name in covered}
        metrics |= {f"{data.name}.{name}": value for name, value in figures.items()}
        if CDNOW.get(data.name) == len(data.histories):
            anchors |= {name: anchor for name, anchor in ANCHORS.items() if name.startswith(f"{data.name}.")}
    return Report(
        benchmark="truth.ltv",
        data=", ".join(f"{data.name} {len(data.histories):,} customers" for data in sets),
        metrics=metrics,
        anchors=anchors,
        environment=describe_environment(PACKAGES),
    )


def measure_coverage(
    histories: Histories, weeks: float, rng: np.random.Generator, *, tries: int = COVERAGE_TRIES
) -> dict[str, float]:
    """How often intervals hold what they are about, where the truth is known.

    Args:
        histories: customers whose fit is taken as the truth, and whose times of joining are kept.
        weeks: time ahead for purchases.
        rng: chance.
        tries: draws of all customers, each fitted anew.
    Returns: share of customers and tries for which the customer's true expectation lies within the interval, of
        the chance to be alive, of purchases within `weeks`, and of the value of 36 months.
    """
    true = _served(histories)
    truth = prepare_purchases(
        replace(true, covariance=((0.0,) * 4,) * 4, value_covariance=((0.0,) * 3,) * 3), LtvOptions().level
    )
    theta, value_theta = np.asarray(true.theta), np.asarray(true.value_theta)
    inside: list[list[float]] = []
    for _ in range(tries):
        drawn = draw_customers(true.model, theta, value_theta, histories.observed_weeks, 0.0, rng).histories
        fitted = prepare_purchases(_served(drawn), LtvOptions().level)
        inside.append(
            [
                _share_within(one, other)
                for one, other in zip(_answers(truth, drawn, weeks), _answers(fitted, drawn, weeks), strict=True)
            ]
        )
    means = np.mean(inside, axis=0)
    return dict(zip(("alive", "transactions", "ltv"), means.tolist(), strict=True))


def _judge(data: PurchaseSet) -> dict[str, float]:
    """Every figure of one set."""
    if not data.purchases.sum() or not data.spend.sum():
        raise ValueError(
            "no customer of the first part bought anything in the second: there is nothing to be held against"
        )
    served = prepare_purchases(_served(data.histories), LtvOptions().level)
    expected = expected_transactions(served, data.histories, data.weeks)
    value = expected_value(served.value_points[:1], data.histories)[:, 0]
    actual = float(data.purchases.sum())
    figures = {
        **_scores("transactions", data.purchases, expected.value),
        **_scores("spend", data.spend / MINOR_UNITS, expected.value * value / MINOR_UNITS),
        "total_error": float(expected.value.sum()) / actual - 1,
        "total_error_lower": float(expected.lower.sum()) / actual - 1,
        "total_error_upper": float(expected.upper.sum()) / actual - 1,
    }
    rate = data.histories.frequency / np.maximum(data.histories.observed_weeks, 1 / 7)
    for name, guess in (("zero", np.zeros_like(rate)), ("past_rate", rate * data.weeks)):
        figures |= {
            f"{name}.{key}": number
            for key, number in _scores("transactions", data.purchases, guess).items()
            if not key.endswith("correlation")
        }
    figures |= _published(data)
    figures["customers"] = float(len(data.histories))
    return figures


def _published(data: PurchaseSet) -> dict[str, float]:
    """Parameters of the published models by plain maximum likelihood, and how their forecasts do."""
    values = fit_values(data.histories, prior_sd=None)
    p, q, v = values.theta
    figures = {"gamma_gamma.p": p, "gamma_gamma.q": q, "gamma_gamma.v": v / MINOR_UNITS}
    for model in PurchaseModel:
        fit = fit_purchases(data.histories, model, prior_sd=None)
        figures |= {f"{model.value}.{name}": number for name, number in zip(model.names, fit.theta, strict=True)}
        figures[f"{model.value}.log_likelihood"] = fit.log_likelihood
        prepared = prepare_purchases(purchase_parameters(model, fit, values, 1.0), LtvOptions().level)
        forecast = expected_transactions(prepared, data.histories, data.weeks).value
        figures |= {
            f"{model.value}.{key}": number for key, number in _scores("transactions", data.purchases, forecast).items()
        }
    return {name: float(number) for name, number in figures.items()}


def _served(histories: Histories) -> PurchaseParameters:
    """What the product would serve after these histories."""
    parameters = fit_ltv(histories, None).parameters.purchases
    assert parameters is not None
    return parameters


def _answers(prepared: PreparedPurchases, histories: Histories, weeks: float) -> tuple[Bounded, Bounded, Bounded]:
    """Chance to be alive, purchases within the weeks, value of 36 months."""
    answer = value_of_purchases(prepared, histories, np.ones(len(histories)))
    return answer.alive, expected_transactions(prepared, histories, weeks), answer.ltv


def _share_within(truth: Bounded, said: Bounded) -> float:
    """Share of customers whose truth lies within; those of whom both are sure (alive: bought today) are left out."""
    unsure = said.upper > said.lower
    inside = (said.lower <= truth.value) & (truth.value <= said.upper)
    return float(np.mean(inside[unsure]))


def _scores(name: str, actual: NDArray[np.float64], guess: NDArray[np.float64]) -> dict[str, float]:
    """Error of each customer's forecast and of the sum of all."""
    error = guess - actual
    constant = float(guess.std()) == 0
    return {
        f"{name}.mae": float(np.mean(np.abs(error))),
        f"{name}.rmse": float(np.sqrt(np.mean(error**2))),
        f"{name}.correlation": float("nan") if constant else float(np.corrcoef(actual, guess)[0, 1]),
        f"{name}.total_error": float(guess.sum() / actual.sum() - 1),
    }
