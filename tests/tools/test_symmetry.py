"""The check of symmetry looks at what is built, and sees what is missing."""

from tools.symmetry import Rpc, holes, is_built, rpcs


def test_built_is_what_a_servicer_answers() -> None:
    built = {rpc.name for rpc in rpcs() if is_built(rpc)}

    assert built >= {"PredictChurn", "BatchPredictChurn", "GetStatus"}
    assert "RunPipeline" not in built


def test_a_built_rpc_without_page_test_and_model_has_three_holes_and_a_folder() -> None:
    found = list(holes(Rpc(module="kaizen", name="CountSheep", models=("sheep",))))

    assert [hole.split(": ")[1].split(" ")[0] for hole in found] == ["no", "no", "its", "no"]


def test_churn_has_no_hole() -> None:
    assert [hole for rpc in rpcs() if is_built(rpc) for hole in holes(rpc)] == []
