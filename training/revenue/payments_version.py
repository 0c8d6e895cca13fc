"""A version of the model `payments` from the platform's attempts: fitted before a cut in time, judged after it.

Not here: the fit itself (payments.py); the rows (training/features/payments.py); what becomes of the version
(training/recipe.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from methods.revenue import payment_success, payments
from methods.revenue.payment_parameters import NEVER_RETRIED, PaymentParameters
from methods.revenue.payment_success import DeclineKind, Payment, Stage
from methods.revenue.payments import Limits, Retry, Route, answer_payment
from training.data.mart import Mart
from training.evaluate import Comparison, Scores, compare_log_loss, score_probabilities
from training.features import payments as payment_rows
from training.features.digest import digest_code
from training.features.payments import PAYER, PaymentLog, payments_frame, read_log
from training.gates import Gate, is_calibrated
from training.recipe import Fitted, Recipe, Say
from training.revenue import payments as fit_code
from training.revenue.payments import Attempts, chances, fit_payments
from training.slices import Slices, foretold_slices, label_texts

JUDGED_SHARE = 0.2  # of the attempts, the newest
FAILURES_LEAST = 50  # failed attempts on either side of the cut
SMOOTHING = 4.0  # attempts at the overall rate that each rate starts with
GOLDEN = 24
GOLDEN_AS_OF = datetime(2026, 1, 1, tzinfo=UTC)
NEW_ROUTE = "golden-unknown"
PURPOSE = (
    "The chance that an attempt succeeds on a route, for OptimizePaymentFlow: which route first, when to try again.",
    "Logistic regression of many small effects, each kind shrunken by its own spread; country, brand and route on top.",
)
LIMITS = (
    "No chance with which a route was chosen is in the table: routes differ partly by what they were chosen for.",
    "The table's hours and days are UTC; a request's are the payer's own.",
    "Funding, device, issuer and wallets are in no table of the platform: they move no answer of this version.",
    "What waiting costs, and how fast old attempts lose weight, are judgement.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Foretold:
    """How well later attempts were foretold: by the version, and by rates of stage, route and last decline.

    Attributes:
        chance, rate: (n,) of a success, each attempt.
        model, rates: their scores.
        saved: nats an attempt that the version saves, with its interval over payers.
    """

    chance: NDArray[np.float64]
    rate: NDArray[np.float64]
    model: Scores
    rates: Scores
    saved: Comparison


def foretell(
    parameters: PaymentParameters,
    early: Attempts,
    late: Attempts,
    payer: NDArray[np.int64],
    rng: np.random.Generator,
) -> Foretold:
    """How well attempts after the cut are foretold.

    Args:
        parameters: fitted on `early`.
        early: what was known before the cut.
        late: what came after it.
        payer: (n,) who paid, of `late`.
        rng: draws payers for the interval.
    """
    outcome = late.succeeded.astype(np.float64)
    chance, rate = chances(parameters.success, late), rates_of(early, late)
    return Foretold(
        chance=chance,
        rate=rate,
        model=score_probabilities(outcome, chance),
        rates=score_probabilities(outcome, rate),
        saved=compare_log_loss(outcome, chance, rate, payer, rng),
    )


def rates_of(early: Attempts, late: Attempts) -> NDArray[np.float64]:
    """What a table of rates by stage, route and last decline, made of `early`, says of `late`; (n,)."""
    whole = float(early.succeeded.mean())
    seen = pd.Series(early.succeeded.astype(np.float64)).groupby(_cells(early)).agg(["sum", "size"])
    rate = (seen["sum"] + SMOOTHING * whole) / (seen["size"] + SMOOTHING)
    return pd.Series(_cells(late)).map(rate).fillna(whole).to_numpy(dtype=np.float64)


def has_enough_failures(fitted: int, judged: int) -> Gate:
    """Too few failures on either side of the cut say nothing."""
    return Gate(
        name="enough_failures",
        passed=min(fitted, judged) >= FAILURES_LEAST,
        reason=f"{fitted} failed attempts fitted on, {judged} judged on ({FAILURES_LEAST} needed of each)",
    )


def is_not_worse_than_rates(saved: Comparison) -> Gate:
    """Knowing more than stage, route and last decline must not mislead: the log loss saved reaches 0 within 90 %."""
    return Gate(
        name="not_worse_than_rates",
        passed=saved.upper >= 0,
        reason=f"{saved.value:+.5f} nats an attempt saved against rates by stage, route and last decline "
        f"({saved.lower:+.5f} to {saved.upper:+.5f}; must reach 0)",
    )


def slices_of(late: Attempts, found: Foretold) -> Slices:
    """Later attempts by what they were."""
    by: dict[str, Callable[[Payment, str], str | None]] = {
        "stage": lambda payment, _route: None if payment.stage is None else payment.stage.value,
        "route": lambda _payment, route: route,
        "card brand": lambda payment, _route: payment.card_brand,
        "country": lambda payment, _route: payment.country,
        "last decline": lambda payment, _route: payment.last_decline_code or "none",
    }
    pairs = list(zip(late.payments, late.route, strict=True))
    labels = {what: label_texts(name(payment, route) for payment, route in pairs) for what, name in by.items()}
    return foretold_slices(labels, late.succeeded.astype(np.float64), found.chance, ("rates", found.rate))


def golden_cases(
    parameters: PaymentParameters, attempts: Attempts, rng: np.random.Generator
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Logged payments that could take 1 to 4 routes, one of them never seen, and what each must be answered.

    Every third one is a retry; some are hard declines, need the payer, or are at their scheme's limit. Exploring is
    switched off: chance hangs on the version's digest, which hangs on these files.
    """
    known = sorted(set(attempts.route))
    retries = [i for i, payment in enumerate(attempts.payments) if payment.stage is Stage.RETRY]
    cases: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = []
    for case in range(GOLDEN):
        among = retries if retries and case % 3 == 0 else range(len(attempts))
        payment = _for_golden(attempts.payments[among[int(rng.integers(len(among)))]], case)
        routes = [
            Route(
                route_id=name,
                success_fee_minor=int(rng.integers(0, 50)),
                success_fee_share=float(rng.integers(0, 40)) / 1_000,
                failure_fee_minor=int(rng.integers(0, 20)),
                is_down=at > 0 and case % 8 == at,
            )
            for at, name in enumerate([*known, NEW_ROUTE][: 1 + case % (len(known) + 1)])
        ]
        limits = Limits(max_attempts=4, window_days=16.0) if case % 4 == 1 else None
        cases.append((_request(payment, routes, limits, case), _answer(payment, routes, limits, parameters)))
    return cases


def features_json(payment: Payment, as_of: datetime) -> dict[str, Any]:
    """A payment as the contract's OptimizePaymentFlowFeatures in JSON; what is unknown is left out.

    Args:
        payment: hours since the decline to the second.
        as_of: the moment that it describes, aware UTC.
    """
    hours, amount = payment.hours_since_decline, payment.amount_minor
    fields = {
        "stage": None if payment.stage is None else f"PAYMENT_STAGE_{payment.stage.value}",
        "amount": None if amount is None else _money(amount, payment.currency),
        "countryCode": payment.country,
        "cardBrand": None if payment.card_brand is None else f"CARD_BRAND_{payment.card_brand}",
        "cardFunding": None if payment.card_funding is None else f"CARD_FUNDING_{payment.card_funding}",
        "device": None if payment.device is None else f"PAYMENT_DEVICE_{payment.device}",
        "attemptNumber": payment.attempt_number,
        "attemptsInWindow": payment.attempts_in_window,
        "lastDeclineCode": payment.last_decline_code,
        "lastDeclineKind": None
        if payment.last_decline_kind is None
        else f"DECLINE_KIND_{payment.last_decline_kind.value}",
        "lastDeclineTime": None if hours is None else _text(as_of - timedelta(seconds=round(hours * 3_600))),
        "lastRouteId": payment.last_route,
        "payerLocalHour": payment.local_hour,
        "payerDayOfMonth": payment.day_of_month,
        "payments365d": payment.payments_365d,
        "paymentFailures365d": payment.failures_365d,
    }
    return {name: value for name, value in fields.items() if value is not None}


def to_the_second(payment: Payment) -> Payment:
    """The payment with hours that a time in whole seconds can say."""
    hours = payment.hours_since_decline
    return payment if hours is None else replace(payment, hours_since_decline=round(hours * 3_600) / 3_600)


def fit_version(mart: Mart, rng: np.random.Generator, say: Say) -> Fitted:
    """Fits the chance of a success to attempts before a cut in time, and foretells those after it.

    Raises: ValueError: the mart holds no attempts, or none that failed.
    """
    say("reading payments")
    table = mart.read("payments")
    if not table.num_rows:
        raise ValueError("payments: the mart holds none")
    frame = payments_frame(table.to_pandas())
    log = read_log(frame)
    is_late = _is_late(log)
    early, late = log.attempts.take(~is_late), log.attempts.take(is_late)
    say(f"fitting {len(early):,} attempts")
    parameters = fit_payments(early)
    payer = pd.factorize(frame[PAYER].to_numpy()[log.rows[is_late]])[0].astype(np.int64)
    say(f"foretelling {len(late):,} later attempts")
    found = foretell(parameters, early, late, payer, rng)
    failed = int((~late.succeeded).sum())
    return Fitted(
        parameters=parameters.to_json(),
        golden=golden_cases(parameters, late, rng),
        figures={"version": _named(found.model), "rates by stage and route and last decline": _named(found.rates)},
        slices=slices_of(late, found),
        gates=[
            has_enough_failures(int((~early.succeeded).sum()), failed),
            is_not_worse_than_rates(found.saved),
            is_calibrated(found.model.ece, len(late), failed / len(late)),
        ],
        observations=len(early),
        data_time=log.time[~is_late].max().to_pydatetime(),
        facts={
            "judged on": f"{len(late):,} attempts after the cut, {failed:,} of them failed",
            "routes": ", ".join(sorted(set(early.route))),
            "asked for another way to pay": f"it works with {parameters.new_method_chance:.0%}, by the attempts after "
            "hard declines",
        },
        purpose=PURPOSE,
        limits=LIMITS,
    )


def _is_late(log: PaymentLog) -> NDArray[np.bool_]:
    """Which attempts are judged; attempts of one moment stay together."""
    cut = log.time.quantile(1.0 - JUDGED_SHARE)
    return np.asarray(log.time > cut)


def _cells(attempts: Attempts) -> list[str]:
    return [
        f"{payment.stage}|{route}|{payment.last_decline_code}"
        for payment, route in zip(attempts.payments, attempts.route, strict=True)
    ]


def _named(scores: Scores) -> dict[str, float]:
    return {name: getattr(scores, name) for name in ("auc", "log_loss", "brier", "ece")}


def _for_golden(payment: Payment, case: int) -> Payment:
    """A logged payment, in some cases with what the platform's table never holds."""
    payment = to_the_second(payment)
    if case % 6 == 5:
        return Payment()  # nothing is known
    if case % 12 == 3:
        return replace(payment, last_decline_code=sorted(NEVER_RETRIED)[case], last_decline_kind=DeclineKind.SOFT)
    if case % 12 == 9:
        return replace(payment, last_decline_code="1A", last_decline_kind=DeclineKind.AUTHENTICATION)
    return replace(payment, attempts_in_window=4) if case % 8 == 1 else payment


def _request(payment: Payment, routes: Sequence[Route], limits: Limits | None, case: int) -> Mapping[str, Any]:
    currency = payment.currency or "USD"
    request: dict[str, Any] = {
        "context": {"requestId": f"golden-{case}", "asOfTime": _text(GOLDEN_AS_OF)},
        "features": features_json(payment, GOLDEN_AS_OF),
        "routes": [
            {
                "routeId": route.route_id,
                "successFee": _money(route.success_fee_minor, currency),
                "successFeeShare": route.success_fee_share,
                "failureFee": _money(route.failure_fee_minor, currency),
                "isDown": route.is_down,
            }
            for route in routes
        ],
        "disableExploration": True,
    }
    if limits is not None:
        window = f"{round(limits.window_days * 86_400)}s"
        request["schemeLimits"] = {"maxAttempts": limits.max_attempts, "window": window}
    return request


def _answer(
    payment: Payment, routes: Sequence[Route], limits: Limits | None, parameters: PaymentParameters
) -> Mapping[str, Any]:
    answer = answer_payment(payment, routes, parameters, limits=limits, chance=None)
    expected: dict[str, Any] = {
        "orderedRoutes": [
            {"routeId": ranked.route_id, "successProbability": _estimate(ranked.success)} for ranked in answer.routes
        ]
    }
    if isinstance(answer.retry, Retry):
        expected["retry"] = {
            "routeId": answer.retry.route_id,
            "successProbability": _estimate(answer.retry.success),
        }
    else:
        expected["noRetryReason"] = f"NO_RETRY_REASON_{answer.retry.name}"
    return expected | ({"askForNewMethod": True} if answer.ask_for_new_method else {})


def _estimate(value: payments.Estimate) -> Mapping[str, float]:
    return {name: getattr(value, name) for name in ("value", "lower", "upper")}


def _money(minor: int, currency: str | None) -> Mapping[str, str]:
    return {"minorUnits": str(minor), "currencyCode": currency or ""}


def _text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _expressions() -> str:
    sources = (payment_rows.__file__, __file__, fit_code.__file__, payment_success.__file__, payments.__file__)
    return digest_code([Path(file).read_text(encoding="utf-8") for file in sources])


RECIPE = Recipe(model="payments", fit=fit_version, expressions=_expressions)
