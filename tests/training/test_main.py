"""The commands as a person types them, on a real registry and a small simulated platform."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.fakes.embedded import uri_of
from training.__main__ import app
from training.register import CHAMPION, read_aliases, set_alias
from training.registry import open_registry

pytestmark = pytest.mark.filterwarnings("default")  # MLflow and its libraries warn of themselves
RUNNER = CliRunner(env={"COLUMNS": "200"})


def call(*arguments: str) -> str:
    """Run a command that must succeed; what it printed."""
    done = RUNNER.invoke(app, list(arguments))
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A mart, and a registry with churn v1 as champion."""
    folder = tmp_path_factory.mktemp("place")
    mart, registry = str(folder / "mart"), uri_of(folder / "mlruns")
    call("data", "simulate", "--users", "800", "--mart", mart)
    call("fit", "churn", "--mart", mart, "--registry", registry)
    return mart, registry


@pytest.fixture(scope="module")
def second(places: tuple[str, str]) -> str:
    """What the fit of v2 printed."""
    return call("fit", "churn", "--mart", places[0], "--registry", places[1])


def test_a_fit_prints_scores_folds_gates_and_the_alias(second: str) -> None:
    for words in (
        "AUC",
        "plain logistic",
        "champion v1",
        "cross-validation in time",
        "passed onnx_parity",
        "churn v2 registered with alias challenger",
    ):
        assert words in second


@pytest.mark.usefixtures("second")
def test_a_version_is_evaluated_on_rows_after_its_own(places: tuple[str, str]) -> None:
    mart, registry = places

    assert "churn v2" in call("evaluate", "churn", "--version", "2", "--mart", mart, "--registry", registry)


@pytest.mark.usefixtures("second")
def test_promote_moves_the_champion_and_rollback_brings_it_back(places: tuple[str, str]) -> None:
    registry = open_registry(places[1])
    set_alias(registry, "churn", "previous", 1)

    assert "v1 -> v2" in call("promote", "churn", "--version", "2", "--registry", places[1])
    assert read_aliases(registry, "churn")[CHAMPION] == 2
    assert "v2 -> v1" in call("rollback", "churn", "--registry", places[1])
    assert read_aliases(registry, "churn")[CHAMPION] == 1


def test_a_snapshot_is_published_and_taken_back_like_a_version(places: tuple[str, str]) -> None:
    mart, registry = places
    said = [call("snapshot", "revenue", "--mart", mart, "--registry", registry) for _ in range(2)]
    set_alias(open_registry(registry), "features.revenue", "previous", 1)

    assert "subjects for churn" in said[0]
    assert "features.revenue v1 registered with alias champion" in said[0]
    assert "features.revenue v2 registered with alias champion" in said[1]
    assert "v2 -> v1" in call("rollback", "features.revenue", "--registry", registry)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["promote", "churn", "--version", "99"], "no version 99"),
        (["promote", "churn", "--alias", "production"], "alias is champion or challenger"),
        (["promote", "churn", "--alias", "challenger"], "needs --version"),
    ],
)
def test_a_command_that_cannot_be_carried_out_says_why(
    places: tuple[str, str], arguments: list[str], said: str
) -> None:
    done = RUNNER.invoke(app, [*arguments, "--registry", places[1]])

    assert done.exit_code == 1
    assert said in done.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["snapshot", "kaizen"], "'kaizen' is none of revenue, learning"),
        (["fit", "features.revenue"], "'features.revenue' is none of churn"),
    ],
)
def test_a_name_that_is_none_is_told_which_there_are(arguments: list[str], said: str) -> None:
    done = RUNNER.invoke(app, arguments)

    assert done.exit_code == 2
    assert said in done.output


def test_a_fit_without_data_names_the_command_that_makes_some(tmp_path: Path, places: tuple[str, str]) -> None:
    done = RUNNER.invoke(app, ["fit", "churn", "--mart", str(tmp_path), "--registry", places[1]])

    assert done.exit_code == 1
    assert "python -m training data simulate" in done.output
