import io
import json
import math
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.report import Anchor, Report, describe_environment, print_report, write_json


def report_of(metrics: dict[str, float]) -> Report:
    return Report(
        benchmark="speed",
        data="churn",
        metrics=metrics,
        anchors={"a.ratio": Anchor(at_least=0.9, source="goal")},
        environment={"cores": "2"},
    )


def test_the_file_holds_the_five_agreed_keys(tmp_path: Path) -> None:
    write_json(report_of({"a.ratio": 0.5, "b.unknown_ms": math.nan}), tmp_path / "report.json")

    assert json.loads((tmp_path / "report.json").read_text()) == {
        "benchmark": "speed",
        "data": "churn",
        "metrics": {"a.ratio": 0.5, "b.unknown_ms": None},
        "anchors": {"a.ratio": {"at_least": 0.9, "source": "goal"}},
        "environment": {"cores": "2"},
    }


@pytest.mark.parametrize("name", ["A.b", "a b", "a..b", "9.a", "a-b"])
def test_a_name_that_is_not_dotted_snake_case_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="dotted snake_case"):
        report_of({name: 1.0})


def test_a_missed_anchor_is_printed_like_a_reached_one() -> None:
    out = io.StringIO()

    print_report(report_of({"a.ratio": 0.5}), Console(file=out, width=120))

    assert "0.5" in out.getvalue()
    assert "≥ 0.9" in out.getvalue()
    assert "missed" in out.getvalue()


@pytest.mark.parametrize(("value", "is_reached"), [(0.9, True), (0.89, False), (math.nan, False)])
def test_an_anchor_is_reached_within_its_bounds_only(value: float, *, is_reached: bool) -> None:
    assert Anchor(at_least=0.9, source="goal").is_reached_by(value) is is_reached


def test_the_environment_names_versions_and_not_the_machine() -> None:
    assert set(describe_environment(["grpcio"])) == {"cores", "machine", "system", "python", "grpcio"}
