"""The upsell model: what each offer changes for whom, from offers that chance showed or held back.

For each offer two regressions are fitted: an effect that depends on the customer, and one effect (in log-odds) for all.
Both answer for customers whom they were not fitted on (five folds of subjects). The first is served only when the
interval of its Qini coefficient there lies above 0 and one of two more does: that of what it adds to the Qini
coefficient of a ranking by who accepts anyway, or, at a stricter level, that of the log-likelihood which it saves over
the second. Else the version says that there is nothing to personalise and serves the second. (The second's own Qini
coefficient is no measure to hold the first against: its level is fitted on shown rows too, and takes over much of an
effect that differs. The log-likelihood is there for data in which who accepts anyway are those who respond.) Rows
where chance took no part are left out.
Pure but for the generator. Not here: rows from the mart (training/features); the answer (methods/revenue/upsell.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.features import FeatureSchema, Kind
from methods.revenue.upsell import prepare
from methods.revenue.upsell_parameters import OfferModel, Preparation, UpsellParameters
from methods.statistics.bootstrap import LEVEL, draw_weights
from methods.statistics.uplift_scores import perfect_ranking, rank_rows
from training.revenue.offer_logistic import OfferFit, fit_level, fit_offer_logistic, inverse_chances

SKEWED = 1.0  # skewness above which a number of 0 or more is logged
RARELY = 0.01  # share missing (or there) below which being missing is no number of its own
NUMBERS = frozenset({Kind.NUMBER, Kind.COUNT, Kind.MONEY, Kind.TIME})
STRICT = 0.99  # level of the second way to be personalised, so that two ways err hardly more often than one
DIGITS = 7  # of a coefficient; keeps parameters.json small, errors below 1e-6 of a chance

Triple = tuple[float, float, float]  # value, lower, upper


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsellOptions:
    """How to fit.

    Attributes:
        folds: parts of the subjects for scores on rows not fitted on.
        draws: of subjects, for the intervals of the Qini coefficient.
        level: probability that intervals are meant to hold.
        least_accepted: acceptances that an offer needs among those shown, and among those held back.
    """

    folds: int = 5
    draws: int = 200
    level: float = LEVEL
    least_accepted: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferRows:
    """Occasions on which one offer was shown or held back; all (n,) but the matrix.

    Attributes:
        matrix: (n, columns) features as of the occasion, missing is NaN.
        subject: whom it was about; one subject's rows stay together.
        shown: 1 or 0.
        accepted: 1 when the thing offered was taken, shown or not.
        propensity: chance of being shown, above 0 and below 1; NaN or another number where chance took no part.
        price: minor units (0 where offers have none).
    """

    matrix: NDArray[np.float32]
    subject: NDArray[np.generic]
    shown: NDArray[np.float64]
    accepted: NDArray[np.float64]
    propensity: NDArray[np.float64]
    price: NDArray[np.float64]

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> "OfferRows":
        """Some of the rows."""
        return OfferRows(
            matrix=self.matrix[rows],
            subject=self.subject[rows],
            shown=self.shown[rows],
            accepted=self.accepted[rows],
            propensity=self.propensity[rows],
            price=self.price[rows],
        )

    def randomised(self) -> "OfferRows":
        """The rows in which chance took part."""
        return self.take((self.propensity > 0) & (self.propensity < 1))  # NaN is neither


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferJudgement:
    """What fits without a row's subject say of it, in the order of the offer's randomised rows.

    Attributes:
        uplift: (n,) by the regression that is served.
        chance: (n,) of acceptance as the row was treated, shown or held back, by the same.
        rate: (n,) share accepted among others treated alike: what is known without looking at the customer.
        anyway: Qini coefficient of a ranking by who accepts when held back.
    """

    uplift: NDArray[np.float64]
    chance: NDArray[np.float64]
    rate: NDArray[np.float64]
    anyway: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsellModel:
    """A fitted version.

    Attributes:
        parameters: what it answers from.
        refused: offers without enough evidence, with the reason.
        penalties: by offer, of the slopes of level and effect.
        judged: by offer.
    """

    parameters: UpsellParameters
    refused: Mapping[str, str]
    penalties: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    judged: Mapping[str, OfferJudgement] = field(default_factory=dict)


def fit_upsell(
    rows: Mapping[str, OfferRows], schema: FeatureSchema, options: UpsellOptions, rng: np.random.Generator
) -> UpsellModel:
    """Fits every offer that has enough randomised evidence; where none has, the version knows no offer.

    Args:
        rows: by offer.
        schema: of the matrix.
        options: how to fit.
        rng: of folds and draws.
    """
    usable = {offer: part.randomised() for offer, part in rows.items()}
    nothing = np.empty((0, len(schema.columns)), dtype=np.float32)
    preparation = fit_preparation(np.concatenate([nothing, *(part.matrix for part in usable.values())]), schema)
    models: list[OfferModel] = []
    refused: dict[str, str] = {}
    penalties: dict[str, tuple[float, float]] = {}
    judged: dict[str, OfferJudgement] = {}
    for offer, part in usable.items():
        if reason := lacks_evidence(part, options):
            refused[offer] = reason
            continue
        model, penalties[offer], judged[offer] = _fit_offer(offer, part, preparation, options, rng)
        models.append(model)
    parameters = UpsellParameters(schema=schema, preparation=preparation, offers=tuple(models), level=options.level)
    return UpsellModel(parameters=parameters, refused=refused, penalties=penalties, judged=judged)


def lacks_evidence(rows: OfferRows, options: UpsellOptions) -> str | None:
    """Why an offer cannot be fitted; None when it can."""
    for name, group in (("shown", rows.shown == 1), ("held back", rows.shown == 0)):
        taken = int(rows.accepted[group].sum())
        rest = int(group.sum()) - taken
        if min(taken, rest) < options.least_accepted:
            return (
                f"{int(group.sum())} occasions {name} by chance, {taken} of them accepted: at least "
                f"{options.least_accepted} accepted and as many not are needed"
            )
    return None


def fit_preparation(matrix: NDArray[np.float32], schema: FeatureSchema) -> Preparation:
    """Fills, logs, centres and scales from the rows fitted on; a column that says nothing gets scale 1.

    Args:
        matrix: (n, columns), missing is NaN; without rows every column says nothing.
        schema: of the matrix.
    """
    raw = matrix.astype(np.float64) if len(matrix) else np.full((1, len(schema.columns)), np.nan)
    is_number = [feature.kind in NUMBERS for feature in schema.features for _ in feature.columns]
    columns: dict[str, list[float]] = {name: [] for name in Preparation.__slots__}
    for number, column in zip(is_number, raw.T, strict=True):
        known = column[~np.isnan(column)]
        logged = bool(number and known.size and known.min() >= 0 and _skewness(known) > SKEWED)
        seen = np.log1p(known) if logged else known
        # A missing number becomes the median, a missing category or flag the mean: no level at all.
        fill = float(np.median(seen) if number else seen.mean()) if seen.size else 0.0
        missing = float(np.isnan(column).mean())
        filled = np.where(np.isnan(column), fill, np.log1p(np.maximum(column, 0.0)) if logged else column)
        centre, scale = float(filled.mean()), _scale(filled)
        square = np.clip((filled - centre) / scale, -4.0, 4.0) ** 2
        entries = {
            "logged": logged,
            "fills": fill,
            "centres": centre,
            "scales": scale,
            "bent": number and len(np.unique(known[:1000])) > 2,
            "bend_centres": float(square.mean()),
            "bend_scales": _scale(square),
            "flagged": RARELY < missing < 1.0 - RARELY,
            "flag_centres": missing,
            "flag_scales": _scale(np.isnan(column).astype(np.float64)),
        }
        for name, entry in entries.items():
            columns[name].append(entry)
    return Preparation(**{name: tuple(column) for name, column in columns.items()})  # type: ignore[arg-type]  # by name


def _fit_offer(
    offer: str, rows: OfferRows, preparation: Preparation, options: UpsellOptions, rng: np.random.Generator
) -> tuple[OfferModel, tuple[float, float], OfferJudgement]:
    """Scores both regressions on rows not fitted on, decides which is served, fits that on all rows."""
    prepared = prepare(rows.matrix, preparation)
    weight = inverse_chances(rows.shown, rows.propensity)
    held_out = _cross_fitted(rows, prepared, weight, options, rng)
    own, common, gain, saved = _compare(rows, held_out, weight, options, rng)
    personalised = own[1] > 0 and (gain[1] > 0 or saved[1] > 0)
    fit = fit_offer_logistic(prepared, rows.shown, rows.accepted, weight, personalised=personalised)
    model = OfferModel(
        offer_id=offer,
        shown_share=float(rows.shown.mean()),
        level=_rounded(fit.level),
        effect=_rounded(fit.effect),
        factor=_rounded(np.asarray(np.linalg.cholesky(fit.covariance)[np.tril_indices(len(fit.covariance))])),
        personalised=personalised,
        average=_average(prepared, fit, float(rows.shown.mean()), options.level),
        qini=own if personalised else common,
        gain=gain,
        saved=saved,
        rows=len(rows.shown),
        lowest_price=float(rows.price.min()),
        highest_price=float(rows.price.max()),
    )
    judgement = OfferJudgement(
        uplift=held_out.own if personalised else held_out.common,
        chance=held_out.chance[0 if personalised else 1],
        rate=held_out.rate,
        anyway=own[0] - gain[0],
    )
    return model, fit.penalties, judgement


@dataclass(frozen=True, slots=True, kw_only=True)
class _HeldOut:
    """What fits without a row's subject say of it.

    Attributes:
        own: (n,) uplift where the effect depends on the customer.
        common: (n,) uplift by one effect for all.
        anyway: (n,) log-odds of acceptance when held back, from rows held back alone.
        chance: (2, n) of acceptance as the row was treated, by the first and by the second.
        rate: (n,) share accepted among rows treated alike, one row that was and one that was not added.
        saved: (n,) log-likelihood of what happened by the first, less by the second; nats.
    """

    own: NDArray[np.float64]
    common: NDArray[np.float64]
    anyway: NDArray[np.float64]
    chance: NDArray[np.float64]
    rate: NDArray[np.float64]
    saved: NDArray[np.float64]


def _cross_fitted(
    rows: OfferRows,
    prepared: NDArray[np.float64],
    weight: NDArray[np.float64] | None,
    options: UpsellOptions,
    rng: np.random.Generator,
) -> _HeldOut:
    """Both regressions on rows of subjects whom they were not fitted on."""
    labels, subject = np.unique(rows.subject, return_inverse=True)
    fold = rng.permutation(np.arange(len(labels)) % options.folds)[subject]
    uplift, likelihood, chance = (np.empty((2, len(prepared))) for _ in range(3))
    anyway, rate = np.empty(len(prepared)), np.empty(len(prepared))
    for each in range(options.folds):
        train, test = fold != each, fold == each
        part, share = None if weight is None else weight[train], float(rows.shown[train].mean())
        for place, personalised in enumerate((True, False)):
            fit = fit_offer_logistic(
                prepared[train], rows.shown[train], rows.accepted[train], part, personalised=personalised
            )
            uplift[place, test] = predict_uplift(prepared[test], fit, share)
            logit = _logit(prepared[test], fit, rows.shown[test] - share)
            # log of the chance of what happened: -log(1 + e^-z) for an acceptance, -log(1 + e^z) for none
            likelihood[place, test] = -np.logaddexp(0.0, np.where(rows.accepted[test] == 1, -logit, logit))
            chance[place, test] = _sigmoid(logit)
        for shown in (0.0, 1.0):
            alike = rows.accepted[train & (rows.shown == shown)]
            rate[test & (rows.shown == shown)] = (alike.sum() + 1.0) / (len(alike) + 2.0)
        held = train & (rows.shown == 0)
        level = fit_level(
            prepared[held], rows.accepted[held], None if weight is None else weight[held], fit.penalties[0]
        )
        anyway[test] = level[0] + prepared[test] @ level[1:]
    return _HeldOut(
        own=uplift[0],
        common=uplift[1],
        anyway=anyway,
        chance=chance,
        rate=rate,
        saved=likelihood[0] - likelihood[1],
    )


def predict_uplift(prepared: NDArray[np.float64], fit: OfferFit, shown_share: float) -> NDArray[np.float64]:
    """Uplift by a fit. (n, width) -> (n,)."""
    ends = (np.full(len(prepared), 1.0 - shown_share), np.full(len(prepared), -shown_share))
    shown, held = (_sigmoid(_logit(prepared, fit, end)) for end in ends)
    return shown - held


def _logit(prepared: NDArray[np.float64], fit: OfferFit, centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-odds of acceptance; `centred` is (n,) shown or not, less the share shown."""
    effect = fit.effect[0] + prepared @ fit.effect[1:]
    return np.asarray(fit.level[0] + prepared @ fit.level[1:] + centred * effect, dtype=np.float64)


def _compare(
    rows: OfferRows,
    held_out: _HeldOut,
    weight: NDArray[np.float64] | None,
    options: UpsellOptions,
    rng: np.random.Generator,
) -> tuple[Triple, Triple, Triple, Triple]:
    """Qini of own and of common effects, own's less that of who accepts anyway, nats saved per 1,000 rows.

    With intervals over draws of subjects, the last at `STRICT`.
    """
    scores = (held_out.own, held_out.common, held_out.anyway)
    rankings = [rank_rows(rows.accepted, score, rows.shown) for score in scores]
    perfect = perfect_ranking(rows.accepted, rows.shown)

    def figures(drawn: NDArray[np.float64]) -> tuple[float, float, float, float]:
        w = drawn if weight is None else weight * drawn
        whole = perfect.area(w)
        own, common, anyway = (ranking.area(w) / whole for ranking in rankings)
        return own, common, own - anyway, 1_000.0 * float(w @ held_out.saved / w.sum())

    values = figures(np.ones(len(rows.shown)))
    drawn = np.array([figures(w) for w in draw_weights(rows.subject, options.draws, rng)])  # (draws, 4)
    levels = (options.level, options.level, options.level, STRICT)
    own, common, gain, saved = (
        _with_ends(value, column, level) for value, column, level in zip(values, drawn.T, levels, strict=True)
    )
    return own, common, gain, saved


def _with_ends(value: float, drawn: NDArray[np.float64], level: float) -> Triple:
    """A figure with the ends of its interval, from the spread over draws.

    The spread rather than quantiles: 200 draws say little about one in a hundred.
    """
    reach = NormalDist().inv_cdf((1 + level) / 2) * float(drawn.std())
    return value, value - reach, value + reach


def _average(prepared: NDArray[np.float64], fit: OfferFit, shown_share: float, level: float) -> Triple:
    """Mean uplift over the rows, with the interval of the coefficients."""
    row = np.hstack([np.ones((len(prepared), 1)), prepared])
    effects = row if fit.personalised else row[:, :1]
    m, d = row @ fit.level, row @ fit.effect
    p1, p0 = _sigmoid(m + (1.0 - shown_share) * d), _sigmoid(m - shown_share * d)
    s1, s0 = p1 * (1.0 - p1), p0 * (1.0 - p0)
    gradient = np.r_[
        ((s1 - s0)[:, None] * row).mean(axis=0),
        (((1.0 - shown_share) * s1 + shown_share * s0)[:, None] * effects).mean(axis=0),
    ]
    reach = NormalDist().inv_cdf((1 + level) / 2) * float(np.sqrt(gradient @ fit.covariance @ gradient))
    value = float((p1 - p0).mean())
    return value, value - reach, value + reach


def _sigmoid(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logit)), dtype=np.float64)


def _skewness(values: NDArray[np.float64]) -> float:
    """Third standardised moment; 0 where nothing varies."""
    spread = float(values.std())
    return float(np.mean(((values - values.mean()) / spread) ** 3)) if spread > 0 else 0.0


def _scale(values: NDArray[np.float64]) -> float:
    """Standard deviation, 1 where nothing varies."""
    spread = float(values.std())
    return spread if spread > 1e-9 else 1.0


def _rounded(values: NDArray[np.floating[Any]]) -> tuple[float, ...]:
    return tuple(float(f"{value:.{DIGITS}g}") for value in values)
