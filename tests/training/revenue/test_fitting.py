"""One training run after another on a real registry, and what the server makes of the folder."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import xgboost as xgb
from google.protobuf.json_format import ParseDict

from methods.features import FeatureSchema
from methods.manifest import MANIFEST_NAME, digest_of, parse_manifest
from methods.revenue.churn import churn_at, parse_parameters
from paedsresus.ml.v1 import revenue_pb2
from tests.fakes.embedded import make_embedded, uri_of
from training.data.collect import collect
from training.data.mart import Mart
from training.data.simulator.parameters import Parameters
from training.data.snapshots import NumbersTable
from training.data.sources import SimulatorSource
from training.features.churn import churn_snapshot
from training.onnx_trees import run_onnx
from training.registry import Registry, open_registry
from training.revenue.champion import Champion, fetch_version, read_champion
from training.revenue.churn import ChurnOptions
from training.revenue.churn_files import request_matrix
from training.revenue.evaluation import evaluate_version
from training.revenue.fitting import FittedVersion, fit_and_register
from training.snapshot import revenue_tables

pytestmark = pytest.mark.filterwarnings("default")  # MLflow and its libraries warn of themselves
QUICK = ChurnOptions(rounds=60, patience=10, depths=(2,), folds=3, draws=20, learning_rate=0.1, threads=1)
NOW = datetime(2026, 1, 7, tzinfo=UTC)
Fit = Callable[[int], FittedVersion]


@pytest.fixture(scope="module")
def mart(tmp_path_factory: pytest.TempPathFactory) -> Mart:
    parameters = Parameters(start=datetime(2024, 1, 1, tzinfo=UTC), users=1_000)
    return collect(SimulatorSource(parameters), tmp_path_factory.mktemp("mart"), parameters.end).mart


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    folder = tmp_path_factory.mktemp("registry") / "mlruns"
    make_embedded(folder)
    return open_registry(uri_of(folder))


@pytest.fixture(scope="module")
def runs(mart: Mart, registry: Registry) -> list[FittedVersion]:
    """A first run, and a second one that meets the first as champion."""
    steps: list[str] = []
    return [fit_and_register(mart, registry, QUICK, seed, NOW, progress=steps.append) for seed in (1, 2)]


@pytest.fixture(scope="module")
def folder(runs: list[FittedVersion], registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    into = tmp_path_factory.mktemp("fetched")
    found = fetch_version(registry, "churn", into, runs[0].registration.version)
    assert found is not None
    return next(into.rglob(MANIFEST_NAME)).parent


def test_the_first_version_is_champion_and_the_second_its_challenger(runs: list[FittedVersion]) -> None:
    assert [run.registration.alias for run in runs] == ["champion", "challenger"]


def test_the_second_is_compared_with_the_first_on_the_same_rows(runs: list[FittedVersion]) -> None:
    second = runs[1].judgement

    assert [contender.name for contender in second.contenders] == ["new version", "champion v1", "plain logistic"]
    assert second.contenders[1].scores == runs[0].judgement.contenders[0].scores


def test_the_run_keeps_figures_card_plots_and_the_digest_of_the_data(
    runs: list[FittedVersion], registry: Registry, mart: Mart
) -> None:
    run = registry.client.get_run(runs[1].run_id)

    assert {"test.auc", "champion.auc", "logistic.auc", "champion.log_loss_saved"} <= set(run.data.metrics)
    assert run.data.tags["data.version"] == mart.data_version
    assert {file.path for file in registry.client.list_artifacts(runs[1].run_id)} >= {"card.md", "plots"}
    plots = {file.path for file in registry.client.list_artifacts(runs[1].run_id, "plots")}
    assert plots == {"plots/calibration.png", "plots/gain.png", "plots/roc.png"}


def test_every_file_is_what_the_manifest_says(folder: Path) -> None:
    manifest = parse_manifest((folder / MANIFEST_NAME).read_bytes())

    assert set(manifest.files) == {
        "booster.ubj",
        "card.md",
        "golden.json",
        "model.onnx",
        "parameters.json",
        "reference.json",
    }
    for name, checksum in manifest.files.items():
        assert digest_of((folder / name).read_bytes()) == checksum


def test_the_golden_requests_give_their_answers(folder: Path) -> None:
    golden = json.loads((folder / "golden.json").read_bytes())
    requests = [ParseDict(case["request"], revenue_pb2.PredictChurnRequest()) for case in golden["cases"]]
    schema = FeatureSchema.from_json(parse_manifest((folder / MANIFEST_NAME).read_bytes()).features)
    parameters = parse_parameters(json.loads((folder / "parameters.json").read_bytes()))

    margins = run_onnx((folder / "model.onnx").read_bytes(), request_matrix(requests, schema))

    assert len(requests) >= 20
    assert any(not request.features.ListFields() for request in requests)
    for margin, case in zip(margins.tolist(), golden["cases"], strict=True):
        days = tuple(entry["horizonDays"] for entry in case["answer"]["churn"])
        said = [entry["churnProbability"]["value"] for entry in case["answer"]["churn"]]
        assert said == pytest.approx([value for value, _, _ in churn_at(margin, parameters, days)], abs=1e-9)


def test_the_native_trees_explain_the_score_of_the_graph(folder: Path) -> None:
    golden = json.loads((folder / "golden.json").read_bytes())
    requests = [ParseDict(case["request"], revenue_pb2.PredictChurnRequest()) for case in golden["cases"]]
    champion = read_champion(folder, 1)
    matrix = request_matrix(requests, champion.schema)
    booster = xgb.Booster({"nthread": 1})
    booster.load_model(bytearray((folder / "booster.ubj").read_bytes()))

    parts = booster.predict(xgb.DMatrix(matrix), pred_contribs=True)

    np.testing.assert_allclose(parts.sum(axis=1), run_onnx(champion.graph, matrix), atol=1e-4)


def test_the_reference_profile_covers_every_field(folder: Path) -> None:
    profile = json.loads((folder / "reference.json").read_bytes())
    schema = FeatureSchema.from_json(parse_manifest((folder / MANIFEST_NAME).read_bytes()).features)

    assert set(profile["features"]) == set(schema.names)
    assert sum(profile["features"]["plan"]["shares"].values()) == pytest.approx(1)
    assert profile["scores"] == sorted(profile["scores"])


def test_the_data_time_is_the_last_moment_that_was_fitted_on(runs: list[FittedVersion], folder: Path) -> None:
    manifest = parse_manifest((folder / MANIFEST_NAME).read_bytes())

    assert manifest.data_time == runs[0].judgement.cut
    assert manifest.observations == len(runs[0].judgement.fitted)


def test_an_evaluation_repeats_the_figures_of_the_fit(runs: list[FittedVersion], folder: Path, mart: Mart) -> None:
    rows, scores = evaluate_version(read_champion(folder, 1), mart)

    assert rows == len(runs[0].judgement.outcome)
    assert scores == runs[0].judgement.contenders[0].scores


def test_an_evaluation_without_newer_rows_is_refused(folder: Path, mart: Mart) -> None:
    version = read_champion(folder, 1)
    newest = Champion(
        version=1,
        manifest=replace(version.manifest, data_time=mart.data_time),
        schema=version.schema,
        graph=version.graph,
        parameters=version.parameters,
    )

    with pytest.raises(ValueError, match="no landmark after that"):
        evaluate_version(newest, mart)


def test_a_champion_whose_graph_was_changed_is_not_compared_with(folder: Path, tmp_path: Path) -> None:
    for name in (MANIFEST_NAME, "parameters.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "model.onnx").write_bytes(b"another graph")

    with pytest.raises(ValueError, match=r"model\.onnx differs from its manifest"):
        read_champion(tmp_path, 1)


def test_a_snapshot_holds_the_champions_chances_for_calculate_ltv(
    runs: list[FittedVersion], mart: Mart, registry: Registry, tmp_path: Path
) -> None:
    champion = fetch_version(registry, "churn", tmp_path)
    frame = churn_snapshot(mart, as_of=mart.data_time)

    tables = revenue_tables(mart, registry).tables

    assert champion is not None
    assert champion.version == runs[0].registration.version
    found = next(table.columns for table in tables if isinstance(table, NumbersTable) and table.name == "ltv")
    np.testing.assert_array_equal(found["churn_probability_28d"], champion.answer(frame))
