"""Small sums of trees as ONNX graphs, written node by node."""

from typing import Any

from onnx import TensorProto, helper

COLUMNS = 4
NODE_LISTS = tuple(
    f"nodes_{name}"
    for name in (
        *("treeids", "nodeids", "featureids", "modes"),
        *("values", "truenodeids", "falsenodeids", "missing_value_tracks_true"),
    )
)
LEAF_LISTS = ("target_treeids", "target_nodeids", "target_ids", "target_weights")
Tree = Any  # a leaf's value, or (mode, column, threshold, whether missing goes to the first, first, second)


def graph_of(trees: list[Tree], **changed: Any) -> bytes:
    """Trees as bytes of a graph, nodes numbered in the order of their visit; `changed` replaces attributes."""
    nodes: list[list[Any]] = []
    leaves: list[tuple[int, int, int, float]] = []

    def visit(number: int, tree: Tree) -> int:
        own = sum(node[0] == number for node in nodes)
        node: list[Any] = [number, own, 0, "LEAF", 0.0, 0, 0, 0]
        nodes.append(node)
        if isinstance(tree, float):
            leaves.append((number, own, 0, tree))
            return own
        mode, column, threshold, missing, first, second = tree
        node[2:] = [column, mode, threshold, visit(number, first), visit(number, second), int(missing)]
        return own

    for number, tree in enumerate(trees):
        visit(number, tree)
    attributes: dict[str, Any] = {name: [node[at] for node in nodes] for at, name in enumerate(NODE_LISTS)}
    attributes |= {name: [leaf[at] for leaf in leaves] for at, name in enumerate(LEAF_LISTS)}
    attributes |= {"n_targets": 1, **changed}
    node = helper.make_node("TreeEnsembleRegressor", ["features"], ["margin"], domain="ai.onnx.ml", **attributes)
    inputs = [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", COLUMNS])]
    outputs = [helper.make_tensor_value_info("margin", TensorProto.FLOAT, ["N", 1])]
    graph = helper.make_graph([node], "trees", inputs, outputs)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 3)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())


def comb(leaves: int) -> Tree:
    """A tree that splits off one leaf after the other to the left."""
    tree: Tree = 0.0
    for at in reversed(range(leaves - 1)):
        tree = ("BRANCH_LT", at % COLUMNS, float(at), at % 2 == 0, float(at + 1), tree)
    return tree
