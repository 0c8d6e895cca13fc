import numpy as np
import pytest

from methods.revenue.demand import expit
from methods.revenue.price_parameters import PRIOR
from training.revenue.price import DemandRows, fit_demand, fit_price


def buyers(rng: np.random.Generator, *, groups: int = 12, visitors: int = 3_000, bias: float = 0.0) -> DemandRows:
    """Segments with slopes around -1.5, each shown five prices; with a bias, half of the rows were not assigned."""
    slope = rng.normal(-1.5, 0.4, groups)
    level = rng.normal(-2.0, 0.5, groups)
    prices = np.array([70.0, 85.0, 100.0, 120.0, 140.0])
    group = np.repeat(np.arange(groups), 10)
    price = np.tile(np.repeat(prices, 2), groups)
    randomised = np.tile([True, False], 5 * groups)
    x = np.log(price / 100.0)
    chance = expit(level[group] + (slope[group] + bias * ~randomised) * x)
    trials = np.full(price.size, float(visitors))
    return DemandRows(
        group=np.char.add("g", group.astype(str)),
        price=price,
        trials=trials,
        buyers=rng.binomial(visitors, chance).astype(float),
        randomised=randomised,
    )


def test_the_population_is_found_behind_its_groups() -> None:
    fitted = fit_demand(buyers(np.random.default_rng(0))).line

    # Twelve slopes of sd 0.4 have a mean with error 0.12; each is known to about 0.1.
    assert fitted.slope == pytest.approx(-1.5, abs=0.4)
    assert fitted.level == pytest.approx(-2.0, abs=0.5)
    assert 0.2 < fitted.slope_sd < 1.0


def test_a_bias_of_what_chance_did_not_assign_does_not_reach_the_slope() -> None:
    honest = fit_demand(buyers(np.random.default_rng(0))).line.slope
    biased = fit_demand(buyers(np.random.default_rng(0), bias=1.2)).line.slope

    assert biased == pytest.approx(honest, abs=0.3)


def test_a_small_group_leans_on_the_population() -> None:
    rows = buyers(np.random.default_rng(1))
    few = DemandRows(
        group=np.array(["new"] * 2),
        price=np.array([85.0, 120.0]),
        trials=np.array([20.0, 20.0]),
        buyers=np.array([1.0, 4.0]),  # rises with the price: chance
        randomised=np.array([True, True]),
    )
    both = DemandRows(
        group=np.concatenate([rows.group, few.group]),
        price=np.concatenate([rows.price, few.price]),
        trials=np.concatenate([np.asarray(rows.trials), np.asarray(few.trials)]),
        buyers=np.concatenate([np.asarray(rows.buyers), np.asarray(few.buyers)]),
        randomised=np.concatenate([np.asarray(rows.randomised), np.asarray(few.randomised)]),
    )

    value, sd = fit_demand(both).elasticity("new")

    assert value < -0.5
    assert sd > 0.2


def test_dispersion_is_found_when_counts_vary_more_than_chance() -> None:
    rng = np.random.default_rng(0)
    calm = buyers(rng, groups=20)
    share = np.clip(np.asarray(calm.buyers) / np.asarray(calm.trials), 1e-6, 1)
    shaken = rng.beta(share * 300, (1 - share) * 300)  # adds a factor of about 1 + 3,000/301
    wild = DemandRows(
        group=calm.group,
        price=calm.price,
        trials=calm.trials,
        buyers=rng.binomial(3_000, shaken).astype(float),
        randomised=calm.randomised,
    )

    assert fit_demand(calm).dispersion < 2.0
    assert 6.0 < fit_demand(wild).dispersion < 16.0


def test_volumes_bend_where_the_line_does() -> None:
    rng = np.random.default_rng(0)
    price = rng.uniform(1.0, 4.0, 4_000)
    x = np.log(price)
    volume = np.exp(5.0 - 1.0 * x - 2.0 * np.maximum(x - 0.7, 0.0) + 0.2 * rng.standard_normal(price.size))
    rows = DemandRows(group=np.full(price.size, "only"), price=price, volume=volume)

    bent, straight = fit_demand(rows), fit_demand(rows, knots=0)

    truth = 5.0 - 1.0 * x - 2.0 * np.maximum(x - 0.7, 0.0)
    error = [float(np.abs(model.predict("only", price)[0] - truth).mean()) for model in (bent, straight)]
    assert error[0] < 0.03 < error[1]
    assert np.sqrt(bent.noise_variance) == pytest.approx(0.2, rel=0.05)


def test_a_group_never_seen_is_answered_from_the_population_with_more_doubt() -> None:
    model = fit_demand(buyers(np.random.default_rng(0)))

    _, known = model.predict("g0", np.array([100.0]))
    mean, unknown = model.predict("elsewhere", np.array([100.0]))

    assert mean[0] == pytest.approx(-2.0, abs=0.5)
    assert unknown[0] > 3 * known[0]


def test_a_version_carries_the_population_and_keeps_the_prior_of_what_was_not_seen() -> None:
    rows = buyers(np.random.default_rng(0))

    version = fit_price(rows)

    assert version.conversion.slope == pytest.approx(-1.5, abs=0.4)
    assert version.refund == PRIOR.refund
    assert version.randomised
    assert version.observations == 12 * 10 * 3_000


def test_the_order_of_the_rows_does_not_matter() -> None:
    rows = buyers(np.random.default_rng(0))
    order = np.random.default_rng(1).permutation(rows.price.size)
    shuffled = DemandRows(
        group=rows.group[order],
        price=rows.price[order],
        trials=np.asarray(rows.trials)[order],
        buyers=np.asarray(rows.buyers)[order],
        randomised=np.asarray(rows.randomised)[order],
    )

    assert fit_price(shuffled).conversion.slope == pytest.approx(fit_price(rows).conversion.slope, rel=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"price": np.array([0.0, 1.0])}, "price: row 0", id="price"),
        pytest.param({"buyers": np.array([1.0, 11.0])}, "buyers: row 1", id="buyers"),
        pytest.param({"volume": np.array([1.0, 1.0])}, "either volume", id="both"),
    ],
)
def test_rows_that_cannot_be_are_refused(change: dict[str, np.ndarray], message: str) -> None:
    good = {
        "group": np.array(["a", "b"]),
        "price": np.array([1.0, 2.0]),
        "trials": np.array([10.0, 10.0]),
        "buyers": np.array([1.0, 2.0]),
    }

    with pytest.raises(ValueError, match=message):
        DemandRows(**(good | change))


def test_no_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="there are none"):
        fit_demand(DemandRows(group=np.array([], dtype=str), price=np.array([]), volume=np.array([])))


def test_a_version_is_not_fitted_on_volumes() -> None:
    with pytest.raises(ValueError, match="not on volumes"):
        fit_price(DemandRows(group=np.array(["a"]), price=np.array([1.0]), volume=np.array([1.0])))
