"""What must come before what: a prerequisite graph whose order can be trusted, and the cycle when there is none.

A graph is built once and never has a cycle: `prerequisite_graph` refuses one and names its members in order.
Everything here is linear in nodes and pairs and free of recursion, so that depth costs nothing but time.
Source: Falmagne and Doignon 2011, Learning Spaces, ch. 1-3 (knowledge states closed under prerequisites, outer fringe).
Pure, no numpy. Not here: which lesson teaches a skill and when to take it (path.py).
"""

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

Node = TypeVar("Node", bound=Hashable)


class PrerequisiteCycle(ValueError, Generic[Node]):  # noqa: N818 - a fact about the graph, not a failure of ours
    """No order can meet these prerequisites.

    Attributes:
        members: each needs the next one first, and the last needs the first.
    """

    def __init__(self, members: Sequence[Node]) -> None:
        self.members = tuple(members)
        chain = " needs ".join(str(member) for member in (*self.members, self.members[0]))
        super().__init__(f"prerequisites go in a circle: {chain}; take one of these pairs out")


@dataclass(frozen=True, slots=True)
class PrerequisiteGraph(Generic[Node]):
    """Prerequisites without a cycle.

    Attributes:
        required: for each node what must come right before it, without repeats.
        order: every node, each after all that it requires; among those that may come next, the one named first.
    """

    required: Mapping[Node, tuple[Node, ...]]
    order: tuple[Node, ...]


def prerequisite_graph(pairs: Iterable[tuple[Node, Node]], nodes: Iterable[Node] = ()) -> PrerequisiteGraph[Node]:
    """The graph of (node, what it requires) pairs; a pair that stands twice counts once.

    Args:
        pairs: prerequisites, in any order.
        nodes: also in the graph, with or without pairs; their order decides between equals in `order`.
    Raises: PrerequisiteCycle: names a cycle; a node that requires itself is one.

    >>> prerequisite_graph([("c", "b"), ("b", "a")]).order
    ('a', 'b', 'c')
    >>> prerequisite_graph([("a", "b"), ("b", "c"), ("c", "a")])
    Traceback (most recent call last):
    methods.learning.prerequisites.PrerequisiteCycle: prerequisites go in a circle: a needs b needs c needs a; take \
one of these pairs out
    """
    found: dict[Node, dict[Node, None]] = {node: {} for node in nodes}
    for node, requirement in pairs:
        found.setdefault(node, {})[requirement] = None
        found.setdefault(requirement, {})
    required = {node: tuple(requirements) for node, requirements in found.items()}
    order = _order(required)
    if len(order) < len(required):
        raise PrerequisiteCycle(_cycle(required, placed=set(order)))
    return PrerequisiteGraph(required=required, order=order)


def outer_fringe(graph: PrerequisiteGraph[Node], known: Collection[Node]) -> list[Node]:
    """What can be learned next: not known itself, and everything that it requires is. In the graph's order.

    Source: Falmagne and Doignon 2011, definition 4.1.1.

    >>> outer_fringe(prerequisite_graph([("c", "b"), ("b", "a"), ("d", "a")]), {"a"})
    ['b', 'd']
    """
    known = set(known)
    return [node for node in graph.order if node not in known and all(r in known for r in graph.required[node])]


def needed_for(graph: PrerequisiteGraph[Node], targets: Iterable[Node], known: Collection[Node] = ()) -> set[Node]:
    """Targets that are not known, and all that they require, as far as that is not known.

    Nothing is looked for behind a known node: who knows it knows what it rests on.

    >>> sorted(needed_for(prerequisite_graph([("c", "b"), ("b", "a")]), ["c"], known={"a"}))
    ['b', 'c']
    """
    known = set(known)
    waiting = [node for node in targets if node not in known]
    needed = set(waiting)
    while waiting:
        for requirement in graph.required.get(waiting.pop(), ()):
            if requirement not in known and requirement not in needed:
                needed.add(requirement)
                waiting.append(requirement)
    return needed


def count_violations(
    sequence: Sequence[Node], required: Mapping[Node, Iterable[Node]], known: Collection[Node] = ()
) -> int:
    """Pairs of a node in the sequence and something it requires that is neither known nor stands before it.

    >>> count_violations(["b", "a"], {"b": ["a"]}), count_violations(["b"], {"b": ["a"]}, known={"a"})
    (1, 0)
    """
    met, violations = set(known), 0
    for node in sequence:
        violations += sum(requirement not in met for requirement in required.get(node, ()))
        met.add(node)
    return violations


def _order(required: Mapping[Node, tuple[Node, ...]]) -> tuple[Node, ...]:
    """Every node that lies on no cycle and behind none, prerequisites first (Kahn 1962)."""
    place = {node: index for index, node in enumerate(required)}
    names = list(required)
    opens: list[list[int]] = [[] for _ in names]
    unmet = [len(requirements) for requirements in required.values()]
    for node, requirements in required.items():
        for requirement in requirements:
            opens[place[requirement]].append(place[node])
    ready = [index for index, count in enumerate(unmet) if not count]
    heapify(ready)
    order = []
    while ready:
        index = heappop(ready)
        order.append(names[index])
        for later in opens[index]:
            unmet[later] -= 1
            if not unmet[later]:
                heappush(ready, later)
    return tuple(order)


def _cycle(required: Mapping[Node, tuple[Node, ...]], placed: set[Node]) -> list[Node]:
    """A cycle among the nodes that could not be placed: each of them requires another one, so walking on must return.

    The walk begins at the first such node, and the cycle at its member that the walk met first.
    """
    node = next(node for node in required if node not in placed)
    walk: dict[Node, int] = {}
    while node not in walk:
        walk[node] = len(walk)
        node = next(requirement for requirement in required[node] if requirement not in placed)
    return list(walk)[walk[node] :]
