"""From held-out scores to a calibrated hazard with intervals: the numbers of `methods.revenue.churn.ChurnParameters`.

Scores are counted into cells (score bin by period) once; slopes, offsets, the calibration curve and two hundred
bootstrap draws are then fitted on counts. Pure; the generator comes in.
Not here: where the scores come from (training/revenue/churn.py, cross-fitted: a score must come from a model that has
not seen the row).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from methods.revenue.churn import ChurnParameters, calibrated_score
from methods.statistics.bootstrap import LEVEL, draw_weights
from methods.statistics.calibration import centred_isotonic
from training.revenue.person_periods import PersonPeriods

SCORE_BINS = 256  # cells are finer than anything that is fitted on them
CURVE_EVENTS = 50  # least events (and non-events) between two knots of the calibration curve
CURVE_GAIN = 2.0  # nats that the curve must save on all held-out rows together; less is no evidence
TABLE_EVENTS = 40  # least events behind one entry of the interval's table: its own error is then below 16 %
TABLE_ENTRIES = 12
LOW_SHARES = (0.1, 0.2, 0.3)  # of the rows, lowest scores first: where few leave, a range by leavers alone is too wide
LOW_EVENTS = 15  # least events behind a range that is split off by rows
TABLE_PERIODS = 7  # the default horizons end in the 7th period; later ones add rows but hardly any knowledge
SLOPE_SD, SLOPE_STEP_SD = 0.5, 0.1  # prior: the first slope is 1 +- 0.5 and changes by 0.1 from period to period
OFFSET_STEP_SD = 0.3  # prior: the log-odds of leaving change by 0.3 from period to period


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """Person-periods counted by period and score bin; (periods, bins) each, and the mean score of a bin, (bins,)."""

    score: NDArray[np.float64]
    at_risk: NDArray[np.float64]
    events: NDArray[np.float64]


def fit_hazard(
    score: NDArray[np.float64],
    frame: PersonPeriods,
    rng: np.random.Generator,
    *,
    periods: int,
    period_days: int = 28,
    draws: int = 200,
) -> ChurnParameters:
    """Calibration curve, slopes, offsets and interval table.

    Args:
        score: (n,) held-out raw scores of the frame's rows.
        frame: the rows.
        rng: chance for folds and draws.
        periods: number of periods of the answer; where few rows reach, slope and offset follow the period before.
        period_days: length of a period.
        draws: bootstrap draws of subjects; 0 means no interval.
    Raises: ValueError: nobody left, or everybody did.
    """
    bins = _score_bins(score)
    cells = count_cells(score, bins, frame, periods)
    if not 0 < cells.events[0].sum() < cells.at_risk[0].sum():
        raise ValueError("a hazard needs rows that left in their first period and rows that did not")
    knots = _calibration_knots(score, bins, frame, rng)
    bent = ChurnParameters(
        period_days=period_days,
        slopes=(1.0,),
        offsets=(0.0,),
        calibration_margins=knots[0],
        calibration_logits=knots[1],
    )
    slopes, offsets = fit_slopes(
        Cells(score=calibrated_score(cells.score, bent), at_risk=cells.at_risk, events=cells.events)
    )
    plain = ChurnParameters(
        period_days=period_days,
        slopes=tuple(slopes.tolist()),
        offsets=tuple(offsets.tolist()),
        calibration_margins=knots[0],
        calibration_logits=knots[1],
    )
    return _with_intervals(plain, score, frame, rng, draws) if draws else plain


def count_cells(
    score: NDArray[np.float64],
    bins: NDArray[np.int64],
    frame: PersonPeriods,
    periods: int,
    weight: NDArray[np.float64] | None = None,
) -> Cells:
    """Person-periods at risk and events, by period and bin.

    Args:
        score: (n,) raw scores.
        bins: (n,) bin of each row, from 0.
        frame: the rows.
        periods: periods to count.
        weight: (n,) how often each row counts; None means once.
    """
    width = int(bins.max()) + 1
    weight = np.ones(len(score), dtype=np.float64) if weight is None else weight
    shape = (periods + 1, width)
    place = np.minimum(frame.observed, periods) * width + bins
    by_observed = _count(place, weight, shape)
    gone = (frame.left > 0) & (frame.left <= periods)
    by_left = _count((frame.left * width + bins)[gone], weight[gone], shape)
    mean = np.bincount(bins, weights=score) / np.maximum(np.bincount(bins), 1)
    return Cells(
        score=mean,
        at_risk=np.cumsum(by_observed[::-1], axis=0)[::-1][1:],  # watched for k periods or more: at risk in the k-th
        events=by_left[1:],
    )


def fit_slopes(cells: Cells) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Slope a_k and offset b_k of each period: logistic regression on the score, held together by a random walk.

    The penalised likelihood is maximised by Newton steps; slopes below 0 are set to 0 and their offsets fitted again.

    Returns: slopes, offsets; (periods,) each.
    Source: Gelman et al. 2013, Bayesian Data Analysis, ch. 14 (normal priors on differences).
    """
    periods = len(cells.at_risk)
    penalty = np.zeros((2 * periods, 2 * periods))  # unknowns: slopes, then offsets
    penalty[0, 0] = SLOPE_SD**-2
    for at, sd in ((0, SLOPE_STEP_SD), (periods, OFFSET_STEP_SD)):
        step = np.diff(np.eye(periods), axis=0)  # (periods - 1, periods)
        penalty[at : at + periods, at : at + periods] += step.T @ step / sd**2
    rate = (cells.events.sum() + 0.5) / (cells.at_risk.sum() + 1.0)
    centre = np.concatenate([np.ones(periods), np.full(periods, np.log(rate / (1 - rate)))])
    unknown = centre.copy()
    free = np.ones(2 * periods, dtype=bool)
    for _ in range(2):
        unknown = _newton(cells, unknown, free, penalty, centre)
        free[:periods] = unknown[:periods] >= 0
        unknown = np.concatenate([np.maximum(unknown[:periods], 0.0), unknown[periods:]])
        if free.all():
            break
    return unknown[:periods], unknown[periods:]


def _count(place: NDArray[np.int64], weight: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
    """Sum of the weights by place, as a table."""
    return np.asarray(np.bincount(place, weights=weight, minlength=shape[0] * shape[1]), dtype=np.float64).reshape(
        shape
    )


def _newton(
    cells: Cells,
    start: NDArray[np.float64],
    free: NDArray[np.bool_],
    penalty: NDArray[np.float64],
    centre: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Maximises the penalised likelihood over the free unknowns; the others stay."""
    unknown = start.copy()
    periods = len(cells.at_risk)
    for _ in range(30):
        z = unknown[:periods, None] * cells.score + unknown[periods:, None]  # (periods, bins)
        p = 1.0 / (1.0 + np.exp(-np.clip(z, -40, 40)))
        gap, spread = cells.events - cells.at_risk * p, cells.at_risk * p * (1 - p)
        gradient = np.concatenate([gap @ cells.score, gap.sum(axis=1)]) - penalty @ (unknown - centre)
        curvature = penalty + 1e-9 * np.eye(2 * periods)
        k = np.arange(periods)
        curvature[k, k] += spread @ cells.score**2
        curvature[k, periods + k] += spread @ cells.score
        curvature[periods + k, k] += spread @ cells.score
        curvature[periods + k, periods + k] += spread.sum(axis=1)
        move = np.linalg.solve(curvature[np.ix_(free, free)], gradient[free])
        unknown[free] += np.clip(move, -2.0, 2.0)  # a far step from a poor start must not run away
        if np.abs(move).max() < 1e-10:
            break
    return unknown


def _score_bins(score: NDArray[np.float64]) -> NDArray[np.int64]:
    """(n,) -> (n,) bin of equal count, 0 to SCORE_BINS - 1; equal scores share a bin."""
    edges = np.unique(np.quantile(score, np.linspace(0, 1, SCORE_BINS + 1)[1:-1]))
    return np.searchsorted(edges, score, side="right").astype(np.int64)


def _calibration_knots(
    score: NDArray[np.float64], bins: NDArray[np.int64], frame: PersonPeriods, rng: np.random.Generator
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Knots of the calibration curve, or none when a straight line does as well on held-out subjects."""
    fold = rng.integers(0, 5, size=int(frame.subject.max()) + 1)[frame.subject]
    folds = [count_cells(score, bins, frame, 1, weight=(fold == f).astype(np.float64)) for f in range(5)]
    whole = count_cells(score, bins, frame, 1)
    saved = 0.0
    for held in folds:
        rest = Cells(score=whole.score, at_risk=whole.at_risk - held.at_risk, events=whole.events - held.events)
        curve = _curve(rest)
        if len(curve[0]) < 3:
            return (), ()
        slopes, offsets = fit_slopes(rest)
        line = slopes[0] * held.score + offsets[0]
        saved += _log_loss(held, line) - _log_loss(held, _bend(held.score, curve))
    if saved < CURVE_GAIN:
        return (), ()
    margins, logits = _curve(whole)
    return tuple(margins.tolist()), tuple(logits.tolist())


def _curve(cells: Cells) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centred isotonic curve of log-odds on the score, from bins with enough events and enough others."""
    at_risk, events = cells.at_risk[0], cells.events[0]
    full = np.minimum(events, at_risk - events)
    group = np.minimum(np.floor(np.cumsum(full) / CURVE_EVENTS), max(1, full.sum() // CURVE_EVENTS) - 1).astype(
        np.int64
    )
    n, y = np.bincount(group, weights=at_risk), np.bincount(group, weights=events)
    x = np.bincount(group, weights=at_risk * cells.score) / np.maximum(n, 1e-9)
    some = n > 0
    x, rate = centred_isotonic(x[some], (y[some] + 0.5) / (n[some] + 1.0), n[some])
    return x, np.log(rate / (1 - rate))


def _bend(score: NDArray[np.float64], curve: tuple[NDArray[np.float64], NDArray[np.float64]]) -> NDArray[np.float64]:
    """The curve at these scores, slope 1 beyond its ends, as methods.revenue.churn has it."""
    return np.interp(score, *curve) + score - np.clip(score, curve[0][0], curve[0][-1])


def _log_loss(cells: Cells, logit: NDArray[np.float64]) -> float:
    """Sum of -log of the chance given to what happened in the first period."""
    return float(np.sum(cells.at_risk[0] * np.logaddexp(0, logit) - cells.events[0] * logit))


def _with_intervals(
    plain: ChurnParameters,
    score: NDArray[np.float64],
    frame: PersonPeriods,
    rng: np.random.Generator,
    draws: int,
) -> ChurnParameters:
    """The parameters with a table of factors on the cumulative hazard, by score.

    In each draw of subjects and each range of scores, the factor is the one under which the events expected equal
    those seen. Its quantiles hold chance and what is left of miscalibration; where that pulls to one side, the other
    side gets what chance would give around half of it. On the simulated platform, whose truth was drawn from 40,000
    users, 90 % intervals of 24 fits on 2,500 users held the mean of a predicted tenth in 88, 93, 94 and 93 % at 28, 84,
    168 and 364 days; all of it on the other side, 93 to 95 %; nothing, 78 to 94 %.
    """
    periods = min(TABLE_PERIODS, len(plain.slopes))
    bins = _table_bins(score, frame, periods)
    fine = _score_bins(score)
    width, pairs = int(bins.max()) + 1, np.unique(np.stack([bins, fine]), axis=1, return_inverse=True)
    (table, _), pair = pairs[0], pairs[1]
    mean = count_cells(score, pair, frame, periods).score
    z = np.asarray(plain.slopes[:periods])[:, None] * calibrated_score(mean, plain)
    hazard = np.logaddexp(0, z + np.asarray(plain.offsets[:periods])[:, None])  # (periods, pairs)
    factors = np.array(
        [
            _factors(count_cells(score, pair, frame, periods, weight), hazard, table, width)
            for weight in draw_weights(frame.subject, draws, rng)
        ]
    )  # (draws, width)
    lower, middle, upper = np.quantile(factors, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2], axis=0)
    chance = np.maximum(middle, 1e-3)  # TABLE_EVENTS keep it near 1; a guard against a table of no events
    half = np.sqrt(chance)
    lower, upper = np.minimum(lower, lower / half), np.maximum(upper, upper / half)
    rows = np.bincount(bins, weights=score) / np.bincount(bins)
    return ChurnParameters(
        period_days=plain.period_days,
        slopes=plain.slopes,
        offsets=plain.offsets,
        calibration_margins=plain.calibration_margins,
        calibration_logits=plain.calibration_logits,
        interval_margins=tuple(rows.tolist()),
        interval_lowers=tuple(np.clip(lower, 1e-3, 1.0).tolist()),
        interval_uppers=tuple(np.maximum(upper, 1.0).tolist()),
        level=LEVEL,
    )


def _table_bins(score: NDArray[np.float64], frame: PersonPeriods, periods: int) -> NDArray[np.int64]:
    """(n,) -> (n,) range of scores, each with about as many subjects that left; at most TABLE_ENTRIES ranges.

    The lowest is split by rows where enough left in each part: its scores lie far apart, and so do the errors there.
    """
    gone = (frame.left > 0) & (frame.left <= periods)
    _, first = np.unique(frame.subject[gone], return_index=True)  # a subject's many landmarks are one departure
    entries = int(np.clip(len(first) // TABLE_EVENTS, 1, TABLE_ENTRIES))
    edges = np.quantile(score[gone], np.linspace(0, 1, entries + 1)[1:-1]).tolist()
    top = min(edges, default=np.inf)
    for low in np.quantile(score, LOW_SHARES).tolist():
        under = max((edge for edge in edges if edge < low), default=-np.inf)
        parts = (gone & (score > under) & (score <= low), gone & (score > low) & (score < top))
        if low < top and all(len(np.unique(frame.subject[part])) >= LOW_EVENTS for part in parts):
            edges.append(low)
    return np.searchsorted(np.unique(edges), score, side="right").astype(np.int64)


def _factors(cells: Cells, hazard: NDArray[np.float64], table: NDArray[np.int64], width: int) -> NDArray[np.float64]:
    """Factor m of each range: sum of at_risk * (1 - exp(-m * hazard)) = events (half a one added). -> (width,)."""
    seen = np.bincount(table, weights=cells.events.sum(axis=0), minlength=width)
    full = np.bincount(table, weights=(cells.at_risk * -np.expm1(-hazard)).sum(axis=0), minlength=width)
    target = (seen + 0.5) * full / (full + 0.5)  # half an event added on both sides: no zero, no pull
    m = np.ones(width)
    for _ in range(20):
        stay = np.exp(-m[table] * hazard)
        expected = np.bincount(table, weights=(cells.at_risk * (1 - stay)).sum(axis=0), minlength=width)
        slope = np.bincount(table, weights=(cells.at_risk * hazard * stay).sum(axis=0), minlength=width)
        m = np.clip(m + (target - expected) / np.maximum(slope, 1e-12), m / 3, m * 3)
        if np.all(np.abs(target - expected) < 1e-6 * (1 + target)):
            break
    return m
