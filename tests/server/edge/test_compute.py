"""The compute process beside a worker: explanations arrive, refusals keep their reason."""

from datetime import UTC, datetime
from pathlib import Path

import grpc
import numpy as np
import pytest
import xgboost

from paedsresus.ml.v1 import revenue_pb2_grpc
from server.desired import ChampionRoute, Desired, Route, write_desired
from tests.fakes.artifacts import AS_OF, churn_schema, write_artifact, write_churn_artifact
from tests.fakes.processes import free_port, process
from tests.fakes.serving import churn_request, load_of


def publish(state_dir: Path, *, with_trees: bool) -> None:
    schema = churn_schema()
    made = state_dir / "made"
    digest = write_churn_artifact(made)
    if with_trees:
        rng = np.random.default_rng(3)
        rows = rng.normal(size=(100, len(schema.columns))).astype(np.float32)
        booster = xgboost.train({"max_depth": 2}, xgboost.DMatrix(rows, rows[:, 4]), num_boost_round=5)
        contents = {path.name: path.read_bytes() for path in made.iterdir() if path.name != "manifest.json"}
        digest = write_artifact(made, {**contents, "booster.ubj": bytes(booster.save_raw("ubj"))}, schema)
    (state_dir / "cache").mkdir()
    made.rename(state_dir / "cache" / digest)
    desired = Desired(
        generation=1,
        load=(load_of(7, digest),),
        route={"churn": Route(champion=ChampionRoute(version=7, digest=digest, since=AS_OF))},
    )
    write_desired(state_dir / "desired.json", desired, written_at=datetime.now(UTC))


@pytest.mark.parametrize("with_trees", [True, False], ids=["trees", "no trees"])
def test_an_answer_is_explained_or_says_why_not(tmp_path: Path, *, with_trees: bool) -> None:
    publish(tmp_path, with_trees=with_trees)
    request = churn_request(tenure_days=3, sessions_28d=2)
    request.context.explain = True
    port = free_port()

    with (
        process("server.edge", tmp_path, slot=0, port=port),
        process("server.edge.compute", tmp_path, slot=1),
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        stub = revenue_pb2_grpc.RevenueServiceStub(channel)
        assert (tmp_path / "heavy.sock").stat().st_mode & 0o777 == 0o600
        if with_trees:
            answer = stub.PredictChurn(request, timeout=30)
            assert answer.reasons[0].feature == churn_schema().owners[4]
            assert len(answer.churn) == 3
        else:
            with pytest.raises(grpc.RpcError) as caught:
                stub.PredictChurn(request, timeout=30)
            assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
