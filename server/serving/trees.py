"""A sum of decision trees over many rows at once, by tables of bit masks: four times the rows a second of the runtime.

A tree is a word with a bit for each of its leaves. Every split leaves a mask of the leaves that are still reachable:
for each column a table holds, for each interval between its thresholds and for missing, the masks of all trees, and the
masks of a row's intervals, taken together by AND, leave one bit a tree: the leaf it ends in. No step depends on a
comparison that a processor has to guess, which is what the runtime spends its time on. After QuickScorer (Lucchese et
al., SIGIR 2015), with whole rows of tables in place of sorted splits.
Pure: bytes of an ONNX graph and matrices in, scores out. Not here: single rows, where the runtime is faster
(predictor.py); the graph's format
(tree_graph.py); when tables are made and tried (many_rows.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from server.serving.tree_graph import Nodes, NoTreesError, read_nodes

JOINT_ROWS: Final = 512  # columns with few thresholds share a table up to so many rows: fewer steps, still in the cache
TABLE_BYTES_MOST: Final = 8 << 20
BLOCK_CELLS: Final = 51_200  # rows x trees that are worked on at a time: 200 KB of 32-bit words stay in the cache
_ALL: Final = np.uint64(2**64 - 1)
Masks = NDArray[Any]  # words of uint32 or uint64


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """The word that holds a tree's leaves, and the float whose exponent says which bit of it is set."""

    bits: int
    mask: type[np.unsignedinteger[Any]]
    signed: type[np.signedinteger[Any]]
    floating: type[np.floating[Any]]
    mantissa_bits: int


NARROW: Final = Word(bits=32, mask=np.uint32, signed=np.int32, floating=np.float32, mantissa_bits=23)
WIDE: Final = Word(bits=64, mask=np.uint64, signed=np.int64, floating=np.float64, mantissa_bits=52)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Masks by the joint interval of some columns.

    Attributes:
        columns: places in the matrix.
        edges: for each column its thresholds, ascending; interval i holds what is >= i of them, the last is missing.
        masks: (product of the columns' intervals, trees) words.
    """

    columns: tuple[int, ...]
    edges: tuple[NDArray[np.float32], ...]
    masks: Masks


@dataclass(frozen=True, slots=True, kw_only=True)
class Trees:
    """Trees as tables.

    Attributes:
        tables: masks by columns; a tree's masks over all tables leave one bit.
        leaves: (trees x bits of a word) float32; bit b of tree t stands at t x bits + (b - 1) mod bits.
        firsts: (trees,) place of each tree's first leaf in `leaves`.
        base: what is added to the sum.
        word: the kind of word that the masks are.
    """

    tables: tuple[Table, ...]
    leaves: NDArray[np.float32]
    firsts: NDArray[np.intp]
    base: float
    word: Word

    def margins(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """Raw scores of many rows: (n, width) float32, NaN for missing -> (n,)."""
        columns = np.ascontiguousarray(matrix.T)
        rows = [(table.masks, _interval(table, columns)) for table in self.tables]
        work = _Work(self)
        sums = np.empty(len(matrix), dtype=np.float32)
        for start in range(0, len(matrix), work.rows):
            block = slice(start, start + work.rows)
            work.score(rows, block, out=sums[block])
        return sums.astype(np.float64) + self.base


def read_trees(graph: bytes) -> Trees:
    """The tables of an ONNX graph.

    Raises: NoTreesError: it is no sum of trees that can be read (tree_graph.py), no tree splits, or the tables would be
        larger than TABLE_BYTES_MOST.
    """
    nodes = read_nodes(graph)
    if not len(nodes.column):
        raise NoTreesError("no tree splits")
    word = NARROW if nodes.leaf_counts.max() <= NARROW.bits else WIDE
    first, *others = _join([_table(nodes, int(column), word) for column in np.unique(nodes.column)])
    # Bits beyond a tree's own leaves are in no split's mask: one table clears them.
    own = (_ALL >> (np.uint64(WIDE.bits) - nodes.leaf_counts)).astype(word.mask)
    leaves = np.zeros((nodes.trees, word.bits), dtype=np.float32)
    leaves[nodes.leaf_tree, (nodes.leaf_bit - 1) % word.bits] = nodes.leaf_value
    return Trees(
        tables=(Table(columns=first.columns, edges=first.edges, masks=first.masks & own), *others),
        leaves=leaves.reshape(-1),
        firsts=np.arange(nodes.trees, dtype=np.intp) * word.bits,
        base=nodes.base,
        word=word,
    )


def _interval(table: Table, columns: NDArray[np.float32]) -> NDArray[np.intp]:
    """(n,) row of the table for each row of the matrix."""
    joint = np.zeros(columns.shape[1], dtype=np.intp)
    for column, edges in zip(table.columns, table.edges, strict=True):
        values = columns[column]
        joint *= len(edges) + 2
        joint += np.searchsorted(edges, values, side="right")  # NaN sorts behind every threshold
        joint += np.isnan(values)
    return joint


class _Work:
    """Buffers of one block, used again for each."""

    __slots__ = ("_floats", "_masks", "_places", "_trees", "_values", "_words", "rows")

    def __init__(self, trees: Trees) -> None:
        self.rows = max(BLOCK_CELLS // len(trees.firsts), 1)
        shape = self.rows, len(trees.firsts)
        self._trees = trees
        self._words, self._masks = np.empty(shape, trees.word.mask), np.empty(shape, trees.word.mask)
        self._floats = np.empty(shape, trees.word.floating)
        self._places, self._values = np.empty(shape, np.intp), np.empty(shape, np.float32)

    def score(self, rows: list[tuple[Masks, NDArray[np.intp]]], block: slice, *, out: NDArray[np.float32]) -> None:
        """Sums of the leaves for the block's rows."""
        count, word = len(out), self._trees.word
        words, masks, floats = self._words[:count], self._masks[:count], self._floats[:count]
        (table, places), *others = rows
        np.take(table, places[block], axis=0, out=words, mode="clip")  # "clip" alone writes into `out` directly
        for table, places in others:
            np.take(table, places[block], axis=0, out=masks, mode="clip")
            np.bitwise_and(words, masks, out=words)
        # One bit is left in each word, and the word as a float has its place as exponent: bias + place, where the bias
        # is one less than a multiple of the bits, so the exponent's low digits say (place - 1) mod bits. The highest
        # bit makes the number negative; its sign is cut off with the exponent's other digits.
        np.copyto(floats, words.view(word.signed))
        exponents = floats.view(word.mask)
        np.right_shift(exponents, word.mask(word.mantissa_bits), out=exponents)
        np.bitwise_and(exponents, word.mask(word.bits - 1), out=exponents)
        np.add(exponents, self._trees.firsts, out=self._places[:count], casting="unsafe")
        np.take(self._trees.leaves, self._places[:count], out=self._values[:count], mode="clip")
        np.sum(self._values[:count], axis=1, out=out)


def _table(nodes: Nodes, column: int, word: Word) -> Table:
    """Masks of one column. Below a threshold the leaves to its right are out of reach, and the other way round."""
    here = nodes.column == column
    tree, keep_left, keep_right = nodes.tree[here], ~nodes.right[here], ~nodes.left[here]
    edges, edge = np.unique(nodes.below[here], return_inverse=True)
    below = np.full((len(edges) + 1, nodes.trees), _ALL)
    above, missing = below.copy(), below[:1].copy()
    np.bitwise_and.at(below, (edge, tree), keep_left)  # the intervals up to this one lie below the threshold
    np.bitwise_and.at(above, (edge + 1, tree), keep_right)  # those from here on do not
    np.bitwise_and.at(missing, (0, tree), np.where(nodes.missing_left[here], keep_left, keep_right))
    below = np.bitwise_and.accumulate(below[::-1], axis=0)[::-1]
    above = np.bitwise_and.accumulate(above, axis=0)
    masks = np.concatenate([below & above, missing]).astype(word.mask)
    return Table(columns=(column,), edges=(edges,), masks=masks)


def _join(tables: list[Table]) -> list[Table]:
    """Columns with few intervals share one table of all their combinations."""
    joined: list[Table] = []
    for table in sorted(tables, key=lambda each: len(each.masks)):
        if joined and len(joined[-1].masks) * len(table.masks) <= JOINT_ROWS:
            last = joined.pop()
            masks = (last.masks[:, None, :] & table.masks[None, :, :]).reshape(-1, table.masks.shape[1])
            table = Table(columns=last.columns + table.columns, edges=last.edges + table.edges, masks=masks)  # noqa: PLW2901
        joined.append(table)
    if sum(table.masks.nbytes for table in joined) > TABLE_BYTES_MOST:
        raise NoTreesError("the tables would be too large")
    return joined
