import io
from dataclasses import replace

from rich.console import Console

from benchmarks.load.plan import LoadReport
from benchmarks.speed.rows import RUN_FIGURES, print_rows, row_of


def run(speed: float, share: float, cpu: float) -> LoadReport:
    return LoadReport(
        loop="closed",
        offered_per_second=0.0,
        counted_seconds=1.0,
        ok=1000,
        failed=1,
        failures={"8 overloaded": 1},
        refused_streams=0,
        calls_per_second=speed,
        p50_ms=1.0,
        p99_ms=2.0,
        p999_ms=3.0,
        max_ms=4.0,
        late_p99_ms=0.0,
        generator_cpu_share=share,
        cpu_seconds={"1": cpu, "2": cpu},
    )


def test_a_row_holds_medians_and_the_worst_of_the_generator() -> None:
    row = row_of("worker", "closed", [run(900, 0.3, 0.1), run(1000, 0.5, 0.15), run(1100, 0.4, 0.2)])

    assert row.calls_per_second == 1000
    assert row.cpu_us == 300
    assert row.failed == 3
    assert row.generator_share == 0.5
    assert row.core_share == 0.15


def test_a_row_is_marked_when_the_generator_was_the_limit() -> None:
    out = io.StringIO()

    print_rows("t", [row_of("worker", "closed", [run(900, 0.81, 0.1)])], Console(file=out, width=140))

    assert "81%" in out.getvalue()
    assert "busy" in out.getvalue()


def test_a_process_that_had_its_core_to_itself_is_not_marked() -> None:
    assert row_of("worker", "closed", [run(900, 0.3, 0.95)]).marks == ""


def test_a_process_that_shared_its_core_is_marked_in_a_closed_loop_only() -> None:
    shared = run(900, 0.3, 0.5)

    assert row_of("worker", "closed", [shared]).marks == "shared"
    assert row_of("worker", "open", [replace(shared, loop="poisson")]).marks == ""


def test_the_figures_of_a_row_carry_the_agreed_names() -> None:
    figures = row_of("worker", "closed", [run(900, 0.3, 0.1)]).figures("predict_churn.rows_1")

    assert figures["predict_churn.rows_1.cpu_us"] == 200
    assert figures["predict_churn.rows_1.p99_ms"] == 2.0
    assert {name.rpartition(".")[2] for name in figures} == set(RUN_FIGURES)
