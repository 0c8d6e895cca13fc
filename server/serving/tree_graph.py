"""A sum of decision trees in an ONNX graph, read into arrays of its splits and leaves.

Only what tables can stand for is read: one TreeEnsembleRegressor with one target that adds up leaves. The messages of
ONNX are declared here as far as they are read; the package onnx, which has them all, costs a worker more memory than
twenty versions.
Pure: bytes in, arrays out. Not here: whether a graph may be loaded at all (control/graph.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

LEAVES_MOST: Final = 64  # bits of the widest word
_ALL: Final = np.uint64(2**64 - 1)


class NoTreesError(Exception):
    """The graph is no sum of trees that tables can stand for; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nodes:
    """Splits and leaves of all trees. A tree's leaves are counted from the left, bit 0 first.

    Attributes:
        trees: number of trees.
        column: (splits,) column that a split looks at.
        below: (splits,) a value goes left where it is below this.
        missing_left: (splits,) whether a missing value goes left.
        tree: (splits,) tree of a split, from 0.
        left, right: (splits,) bits of the leaves on either side.
        leaf_tree, leaf_bit, leaf_value: (leaves,) tree, bit and what is added.
        leaf_counts: (trees,) number of leaves.
        base: what is added to the sum of the leaves.
    """

    trees: int
    column: NDArray[np.int64]
    below: NDArray[np.float32]
    missing_left: NDArray[np.bool_]
    tree: NDArray[np.int64]
    left: NDArray[np.uint64]
    right: NDArray[np.uint64]
    leaf_tree: NDArray[np.int64]
    leaf_bit: NDArray[np.int64]
    leaf_value: NDArray[np.float32]
    leaf_counts: NDArray[np.uint64]
    base: float


def read_nodes(graph: bytes) -> Nodes:
    """Splits and leaves of a graph's trees.

    Raises: NoTreesError: it is not one TreeEnsembleRegressor that adds up leaves, one target, at most LEAVES_MOST
        leaves a tree.
    """
    try:
        return _read(_attributes(graph))
    except KeyError as missing:
        raise NoTreesError(f"it has no {missing}") from None


def _read(given: Mapping[str, Any]) -> Nodes:
    trees, ids = given["nodes_treeids"], given["nodes_nodeids"]
    modes = np.array(given["nodes_modes"])
    is_leaf, is_most = modes == b"LEAF", modes == b"BRANCH_LEQ"
    is_split = ~is_leaf
    if not (is_leaf | is_most | (modes == b"BRANCH_LT")).all():
        raise NoTreesError("a branch compares otherwise than by < or <=")
    place = _places(trees, ids)
    left = place(trees, given["nodes_truenodeids"], is_split)
    right = place(trees, given["nodes_falsenodeids"], is_split)
    number = np.unique(trees, return_inverse=True)[1]
    first, counts = _spans(left, right, is_leaf, number)
    bits = (_ALL >> (64 - counts).astype(np.uint64)) << first.astype(np.uint64)
    leaf = place(given["target_treeids"], given["target_nodeids"], np.ones(len(given["target_treeids"]), np.bool_))
    if sorted(leaf) != np.flatnonzero(is_leaf).tolist():
        raise NoTreesError("not every leaf has one value")
    values = given["nodes_values"]
    below = np.where(is_most, np.nextafter(values, np.float32(np.inf)), values)[is_split]
    if not np.isfinite(below).all():
        raise NoTreesError("a threshold is no finite number")
    tracks = given.get("nodes_missing_value_tracks_true", np.zeros(len(ids), dtype=np.int64))
    return Nodes(
        trees=int(number.max()) + 1,
        column=given["nodes_featureids"][is_split],
        below=below,
        missing_left=tracks[is_split] == 1,
        tree=number[is_split],
        left=bits[left[is_split]],
        right=bits[right[is_split]],
        leaf_tree=number[leaf],
        leaf_bit=first[leaf],
        leaf_value=given["target_weights"],
        leaf_counts=np.bincount(number, weights=is_leaf).astype(np.uint64),
        base=float(sum(given.get("base_values", ()))),
    )


def _places(trees: NDArray[np.int64], ids: NDArray[np.int64]) -> Any:
    """The function from (tree, id) to the place in the list of nodes."""
    span = int(ids.max()) + 1
    keys = trees * span + ids
    order = np.argsort(keys)
    ordered = keys[order]
    if ids.min() < 0 or (np.diff(ordered) == 0).any():
        raise NoTreesError("two nodes have one id")

    def place(of_trees: NDArray[np.int64], of_ids: NDArray[np.int64], wanted: NDArray[np.bool_]) -> NDArray[np.intp]:
        asked = np.where(wanted, of_trees * span + of_ids, ordered[0])
        found = np.minimum(np.searchsorted(ordered, asked), len(ordered) - 1)
        if (ordered[found] != asked).any() or (of_ids[wanted] >= span).any():
            raise NoTreesError("a branch leads to a node that is not there")
        places: NDArray[np.intp] = order[found]
        return places

    return place


def _spans(
    left: NDArray[np.intp], right: NDArray[np.intp], is_leaf: NDArray[np.bool_], tree: NDArray[np.intp]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each node, the first of the leaves below it and how many they are."""
    levels = _levels(left, right, is_leaf, tree)
    counts = is_leaf.astype(np.int64)
    for level in reversed(levels):
        counts[level] = counts[left[level]] + counts[right[level]]
    if counts.max() > LEAVES_MOST:
        raise NoTreesError(f"a tree has more than {LEAVES_MOST} leaves")
    first = np.zeros(len(is_leaf), dtype=np.int64)
    for level in levels:
        first[left[level]] = first[level]
        first[right[level]] = first[level] + counts[left[level]]
    return first, counts


def _levels(
    left: NDArray[np.intp], right: NDArray[np.intp], is_leaf: NDArray[np.bool_], tree: NDArray[np.intp]
) -> list[NDArray[np.intp]]:
    """Splits by their depth, roots first."""
    is_child = np.bincount(np.concatenate([left[~is_leaf], right[~is_leaf]]), minlength=len(is_leaf))
    level, seen = np.flatnonzero(is_child == 0), 0
    if is_child.max(initial=0) > 1 or (np.bincount(tree[level], minlength=int(tree.max()) + 1) != 1).any():
        raise NoTreesError("a tree has more than one root, or two branches that lead to one node")
    levels: list[NDArray[np.intp]] = []
    while len(level):
        seen += len(level)
        level = level[~is_leaf[level]]
        levels.append(level)
        level = np.concatenate([left[level], right[level]])
    if seen != len(is_leaf):
        raise NoTreesError("branches lead in a circle")
    return levels


_KNOWN: Final = frozenset(
    [
        *("aggregate_function", "base_values", "n_targets", "post_transform"),
        *("nodes_falsenodeids", "nodes_featureids", "nodes_hitrates", "nodes_missing_value_tracks_true"),
        *("nodes_modes", "nodes_nodeids", "nodes_treeids", "nodes_truenodeids", "nodes_values"),
        *("target_ids", "target_nodeids", "target_treeids", "target_weights"),
    ]
)


def _attributes(graph: bytes) -> Mapping[str, Any]:
    """The ensemble's attributes: integers as (n,) int64, floats as (n,) float32, text as bytes."""
    try:
        nodes = _MODEL.FromString(graph).graph.node
    except DecodeError:
        raise NoTreesError("it is no graph") from None
    if len(nodes) != 1 or (nodes[0].domain, nodes[0].op_type) != ("ai.onnx.ml", "TreeEnsembleRegressor"):
        raise NoTreesError("it is not one TreeEnsembleRegressor")
    given: dict[str, Any] = {each.name: each for each in nodes[0].attribute}
    if unknown := given.keys() - _KNOWN:
        raise NoTreesError(f"it has the attribute {min(unknown)}")
    if "target_ids" not in given or not given["target_ids"].ints or any(given["target_ids"].ints):
        raise NoTreesError("it has more than one target")
    for name, plain in (("aggregate_function", b"SUM"), ("post_transform", b"NONE")):
        if name in given and given[name].s != plain:
            raise NoTreesError(f"its {name} is not {plain.decode()}")
    values = {name: _value(each) for name, each in given.items()}
    for prefix in ("nodes_", "target_"):
        if len({len(value) for name, value in values.items() if name.startswith(prefix)}) > 1:
            raise NoTreesError("its lists have different lengths")
    return values


def _value(attribute: Any) -> Any:
    if attribute.ints:
        return np.array(attribute.ints, dtype=np.int64)
    if attribute.floats:
        return np.array(attribute.floats, dtype=np.float32)
    return list(attribute.strings)


def _onnx_model() -> Any:
    """The part of ONNX's messages that is read here (onnx.proto); the rest is skipped as unknown fields."""
    kind = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="paedsresus/onnx.proto", package="paedsresus.onnx")
    for message, fields in _FIELDS.items():
        described = file.message_type.add(name=message)
        for name, number, label, of in fields:
            field = described.field.add(name=name, number=number, label=label)
            if isinstance(of, str):
                field.type, field.type_name = kind.TYPE_MESSAGE, f".{file.package}.{of}"
            else:
                field.type = of
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.Model"))


_ONE, _MANY = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL, descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
_FIELDS: Final[Mapping[str, tuple[tuple[str, int, Any, Any], ...]]] = {
    "Model": (("graph", 7, _ONE, "Graph"),),
    "Graph": (("node", 1, _MANY, "Node"),),
    "Node": (
        ("op_type", 4, _ONE, descriptor_pb2.FieldDescriptorProto.TYPE_STRING),
        ("attribute", 5, _MANY, "Attribute"),
        ("domain", 7, _ONE, descriptor_pb2.FieldDescriptorProto.TYPE_STRING),
    ),
    "Attribute": (
        ("name", 1, _ONE, descriptor_pb2.FieldDescriptorProto.TYPE_STRING),
        ("s", 4, _ONE, descriptor_pb2.FieldDescriptorProto.TYPE_BYTES),
        ("floats", 7, _MANY, descriptor_pb2.FieldDescriptorProto.TYPE_FLOAT),
        ("ints", 8, _MANY, descriptor_pb2.FieldDescriptorProto.TYPE_INT64),
        ("strings", 9, _MANY, descriptor_pb2.FieldDescriptorProto.TYPE_BYTES),
    ),
}
_MODEL: Final = _onnx_model()
