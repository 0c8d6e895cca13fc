"""CalculateOptimalPrice asked every week for a year: its shares are shown, what comes is told it the next week.

Against today's price for all, against the price that is truly best (the regret), and against the usual test: equal
shares for a quarter of the year, then the price that earned most. The version is fitted on eight other segments of the
same platform with a year of half-randomised prices; a judged segment starts with half a year at today's price alone.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.closed_loop.comparison import Answered, Floats, Policy, SeedResult, joined
from benchmarks.closed_loop.worlds.visitors import Segment, draw_segments
from methods.revenue.price import Exposure, PriceAnswer, PriceQuestion, answer_price
from methods.revenue.price_parameters import PriceParameters
from training.revenue.price import DemandRows, fit_price

WEEKS, WEEKS_BEFORE = 52, 26
SEGMENTS, HISTORY_VISITORS = 8, 150  # fitted on; visitors a week there
TEST_WEEKS: Final = WEEKS // 4
LOOKS: Final = (4, 13, 26, 51)  # weeks after which the intervals are held against the truth
JUDGED: Final = 3  # segments a seed


def run(seed: int) -> SeedResult:
    """One platform: a fit on its other segments, then a year in each of a few."""
    rng = np.random.default_rng([seed, 1])
    segments = draw_segments(SEGMENTS + JUDGED, rng)
    version = fit_price(_history(segments[:SEGMENTS], rng))
    years = [
        _Year(segment, version, np.random.default_rng([seed, 2, n])) for n, segment in enumerate(segments[-JUDGED:])
    ]
    for year in years:
        year.live()
    return SeedResult(
        gains={
            "todays_price": float(np.mean([year.earned / year.today - 1.0 for year in years])),
            "test_then_choose": float(np.mean([year.earned / year.tested - 1.0 for year in years])),
            "oracle": float(np.mean([year.earned / year.best - 1.0 for year in years])),
        },
        figures={
            "best_over_today": float(np.mean([year.best / year.today - 1.0 for year in years])),
            "share_on_best_at_end": float(np.mean([year.share_on_best for year in years])),
            "regret_first_quarter": float(np.mean([year.regret[:TEST_WEEKS].mean() for year in years])),
            "regret_last_quarter": float(np.mean([year.regret[-TEST_WEEKS:].mean() for year in years])),
        },
        answers={name: joined([year.seen[name] for year in years]) for name in years[0].seen},
    )


def why(alternative: str, figures: Mapping[str, float]) -> str:
    """What stood in the way."""
    if alternative == "oracle":
        return "nobody knows the best price before any visitor saw it; this is the cost of learning it"
    if figures["best_over_today"] < 0.02:
        return f"today's price is nearly the best: {figures['best_over_today']:.1%} to be had"
    return (
        f"{figures['best_over_today']:.1%} could be had over today's price; at the end "
        f"{figures['share_on_best_at_end']:.0%} of visitors saw the best one"
    )


POLICY: Final = Policy(
    name="price",
    gains={
        "todays_price": "income over a year, share of today's price's",
        "test_then_choose": "income over a year, share of a 13-week equal test's with the leader kept",
        "oracle": "regret: income over a year less the best fixed price's, as a share of it",
    },
    run=run,
    why=why,
)


class _Year:
    """One segment's year under the policy and its alternatives: the same visitors and the same weekly interest.

    Incomes are expectations given what was shown, so that chance in who bought blurs learning alone.
    """

    def __init__(self, segment: Segment, version: PriceParameters, rng: np.random.Generator) -> None:
        self.segment, self.version, self.rng = segment, version, rng
        self.prices = np.array(segment.ladder, dtype=np.float64)
        self.chance, self.worth = segment.conversion(self.prices), segment.value(self.prices)
        self.visitors = rng.poisson(segment.visitors, WEEKS_BEFORE + WEEKS)
        self.interest = segment.weekly_interest(WEEKS_BEFORE + WEEKS, rng)
        self.counts = np.zeros(
            (2, 3, self.prices.size), dtype=np.int64
        )  # chance took part or not; shown, bought, refunded
        self.seen: dict[str, Answered] = {}
        self.regret = np.zeros(WEEKS)
        weeks = (self.visitors * self.interest)[WEEKS_BEFORE:]
        now = segment.ladder.index(segment.today)
        self.today, self.best = (float(weeks.sum() * worth) for worth in (self.worth[now], self.worth.max()))
        self.tested = self._test_then_choose(weeks)
        self.earned = self.share_on_best = 0.0

    def live(self) -> None:
        """The half year before at today's price, then the year by the policy's shares."""
        only = (np.array(self.segment.ladder) == self.segment.today).astype(np.float64)
        for week in range(WEEKS_BEFORE):
            self._show(week, only, randomised=False)
        looks: dict[str, list[Answered]] = {}
        for week in range(WEEKS):
            answer = answer_price(self._question(), self.version, self.rng)
            shares = np.array([option.next_share for option in answer.options])
            if week in LOOKS:
                for name, ends in self._beside_truth(answer, week).items():
                    looks.setdefault(name, []).append(ends)
            shown = self._show(WEEKS_BEFORE + week, shares / shares.sum(), randomised=True)
            interest = self.interest[WEEKS_BEFORE + week]
            self.earned += float(shown @ self.worth) * interest
            self.regret[week] = 1.0 - float(shown @ self.worth) / max(1.0, shown.sum()) / self.worth.max()
            self.share_on_best = float(shares[int(self.worth.argmax())])
        self.seen = {name: joined(parts) for name, parts in looks.items()}

    def _show(self, week: int, shares: Floats, *, randomised: bool) -> NDArray[np.int64]:
        """A week's visitors by price; what they did is added to the counts."""
        shown = self.rng.multinomial(self.visitors[week], shares)
        bought = self.rng.binomial(shown, np.minimum(self.chance * self.interest[week], 1.0))
        refunded = self.rng.binomial(bought, self.segment.refunded)
        self.counts[int(randomised)] += np.stack([shown, bought, refunded])
        return np.asarray(shown, dtype=np.int64)

    def _question(self) -> PriceQuestion:
        history = tuple(
            Exposure(price_minor=price, exposures=int(n), conversions=int(b), refunds=int(r), randomised=bool(chance))
            for chance in (0, 1)
            for price, n, b, r in zip(self.segment.ladder, *self.counts[chance], strict=True)
            if n
        )
        return PriceQuestion(ladder=self.segment.ladder, current=self.segment.today, history=history)

    def _test_then_choose(self, weeks: Floats) -> float:
        """Income of equal shares for TEST_WEEKS, then the price that earned most there."""
        shown = np.array(
            [
                self.rng.multinomial(n, np.full(self.prices.size, 1 / self.prices.size))
                for n in self.visitors[WEEKS_BEFORE : WEEKS_BEFORE + TEST_WEEKS]
            ]
        )
        interest = self.interest[WEEKS_BEFORE : WEEKS_BEFORE + TEST_WEEKS, None]
        bought = self.rng.binomial(shown, np.minimum(self.chance * interest, 1.0)).sum(axis=0)
        leader = int(np.argmax(self.prices * bought / np.maximum(shown.sum(axis=0), 1)))
        tested = float((shown * interest * self.worth).sum())
        return tested + float(weeks[TEST_WEEKS:].sum() * self.worth[leader])

    def _beside_truth(self, answer: PriceAnswer, weeks: int) -> dict[str, Answered]:
        """Intervals after so many weeks of shares, beside those weeks' truth at every price, and an average week's."""
        options = answer.options
        shown = slice(WEEKS_BEFORE, WEEKS_BEFORE + weeks)
        seen = float(self.visitors[shown] @ self.interest[shown] / self.visitors[shown].sum())
        at = self.segment.ladder.index(self.segment.today)
        true_elasticity = np.log(self.chance[at + 1] / self.chance[at - 1]) / np.log(
            self.prices[at + 1] / self.prices[at - 1]
        )
        told = {
            "conversion": ([option.conversion for option in options], self.chance * seen),
            "conversion_any_week": ([option.conversion for option in options], self.chance),
            "value": ([option.value for option in options], self.worth * seen),
            "elasticity": ([answer.elasticity], np.array([true_elasticity])),
        }
        return {
            name: Answered(
                value=np.array([end.value for end in ends]),
                lower=np.array([end.lower for end in ends]),
                upper=np.array([end.upper for end in ends]),
                truth=truth,
            )
            for name, (ends, truth) in told.items()
        }


def _history(segments: list[Segment], rng: np.random.Generator) -> DemandRows:
    """A year of the other segments, half of the visitors at random prices; a row for each week, price and way."""
    rows: list[tuple[str, float, int, int, bool]] = []
    for number, segment in enumerate(segments):
        prices = np.array(segment.ladder, dtype=np.float64)
        chance, interest = segment.conversion(prices), segment.weekly_interest(WEEKS, rng)
        only = (prices == segment.today).astype(np.float64)
        for week in range(WEEKS):
            for shares, randomised in ((np.full(prices.size, 1 / prices.size), True), (only, False)):
                shown = rng.multinomial(rng.poisson(HISTORY_VISITORS / 2), shares)
                bought = rng.binomial(shown, np.minimum(chance * interest[week], 1.0))
                rows += [
                    (f"s{number}", float(p), int(n), int(b), randomised)
                    for p, n, b in zip(prices, shown, bought, strict=True)
                    if n
                ]
    group, price, trials, buyers, randomised_column = zip(*rows, strict=True)
    return DemandRows(
        group=np.array(group),
        price=np.array(price),
        trials=np.array(trials, dtype=np.float64),
        buyers=np.array(buyers, dtype=np.float64),
        randomised=np.array(randomised_column, dtype=np.bool_),
    )
