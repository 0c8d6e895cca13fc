import json
import math
from dataclasses import asdict

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.load.plan import LoadReport, Loop, Plan, percentile, plan_of, report_of


def test_a_plan_travels_as_json() -> None:
    plan = Plan(port=1, path="/a.B/C", bodies_file="b", loop=Loop.POISSON, rate=10.0, watched_pids=(4, 5), core=1)

    assert plan_of(plan.to_json()) == plan


@given(
    values=st.lists(st.floats(0, 1e6), min_size=1, max_size=200),
    share=st.floats(min_value=0.01, max_value=1),
)
def test_a_percentile_is_a_seen_value_that_covers_its_share(values: list[float], share: float) -> None:
    ordered = sorted(values)

    value = percentile(ordered, share)

    covered = sum(v <= value for v in values)
    below = sum(v < value for v in values)
    assert covered >= share * len(values) - 1e-6
    assert below <= share * len(values) + 1e-6


def test_a_percentile_of_nothing_is_unknown() -> None:
    assert math.isnan(percentile([], 0.5))


def test_a_report_travels_as_json_and_knows_its_cpu_and_its_limit() -> None:
    report = LoadReport(
        loop="closed",
        offered_per_second=0.0,
        counted_seconds=2.0,
        ok=1000,
        failed=0,
        failures={},
        refused_streams=0,
        calls_per_second=500.0,
        p50_ms=1.0,
        p99_ms=2.0,
        p999_ms=3.0,
        max_ms=4.0,
        late_p99_ms=0.0,
        generator_cpu_share=0.81,
        cpu_seconds={"42": 0.3},
    )

    assert report_of(json.dumps(asdict(report))) == report
    assert math.isclose(report.cpu_us(42), 300.0)
    assert report.is_generator_busy
