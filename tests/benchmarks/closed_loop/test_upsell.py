"""The world of offers, and decisions in it."""

import numpy as np
import pytest

from benchmarks.closed_loop import upsell as benchmark
from benchmarks.closed_loop.upsell import POLICY, run
from benchmarks.closed_loop.worlds.customers import SCHEMA, chances, draw_customers, draw_responses, uplifts

LAWS = [draw_responses(np.random.default_rng(seed)) for seed in range(40)]


def test_customers_have_the_schemas_columns_and_some_gaps() -> None:
    customers = draw_customers(2_000, np.random.default_rng(1))

    assert customers.shape == (2_000, len(SCHEMA.columns))
    assert 0.02 < np.isnan(customers[:, 0]).mean() < 0.09
    assert not np.isnan(customers[:, 1:]).any()


def test_in_about_a_quarter_of_the_worlds_there_is_nothing_to_personalise() -> None:
    customers = draw_customers(500, np.random.default_rng(2))
    alike = [law for law in LAWS if not law.is_personal]

    assert 4 <= len(alike) <= 16
    for law in alike:
        held, shown = chances(law, customers)
        effect = np.log(shown / (1 - shown)) - np.log(held / (1 - held))
        # One effect for all; what no field shows bends it a little when chances are averaged over it.
        assert np.ptp(effect) < 0.1


def test_some_customers_are_put_off_where_the_effect_differs() -> None:
    customers = draw_customers(2_000, np.random.default_rng(3))

    shares = [float((uplifts(law, customers) < 0).mean()) for law in LAWS if law.is_personal]

    assert max(shares) > 0.1
    assert np.mean(shares) < 0.5


def test_decisions_are_made_and_never_beat_the_true_effects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "LOGGED", 3_000)
    monkeypatch.setattr(benchmark, "CUSTOMERS", 400)

    result = run(0)

    assert set(result.gains) == set(POLICY.gains)
    assert result.figures["margin.policy"] <= result.figures["margin.truth"]
    assert result.figures["margin.propensity_targeting"] <= result.figures["margin.truth"]
    assert 0.0 <= result.figures["contacted"] <= 1.0
    assert "exploring costs" in POLICY.why("propensity_targeting", result.figures)
