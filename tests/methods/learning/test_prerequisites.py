import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from methods.learning.prerequisites import (
    PrerequisiteCycle,
    count_violations,
    needed_for,
    outer_fringe,
    prerequisite_graph,
)

PAIRS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=40)
ACYCLIC = PAIRS.map(lambda pairs: [(max(pair), min(pair)) for pair in pairs if pair[0] != pair[1]])


@given(PAIRS)
def test_a_graph_is_refused_exactly_when_it_has_a_cycle(pairs: list[tuple[int, int]]) -> None:
    is_acyclic = nx.is_directed_acyclic_graph(nx.DiGraph(pairs))

    try:
        graph = prerequisite_graph(pairs)
    except PrerequisiteCycle as refusal:
        assert not is_acyclic
        members = refusal.members
        assert len(set(members)) == len(members)
        assert all(pair in pairs for pair in zip(members, (*members[1:], members[0]), strict=True))
    else:
        assert is_acyclic
        assert count_violations(graph.order, graph.required) == 0
        assert sorted(graph.order) == sorted({node for pair in pairs for node in pair})


def test_a_cycle_far_below_is_named_without_what_leads_to_it() -> None:
    leading = [(f"n{i}", f"n{i + 1}") for i in range(5_000)]

    with pytest.raises(PrerequisiteCycle) as refusal:
        prerequisite_graph([*leading, ("n5000", "a"), ("a", "b"), ("b", "n5000")])

    assert set(refusal.value.members) == {"n5000", "a", "b"}
    assert "a needs b" in str(refusal.value)


def test_a_node_that_requires_itself_is_a_cycle_of_one() -> None:
    with pytest.raises(PrerequisiteCycle) as refusal:
        prerequisite_graph([("b", "a"), ("a", "a")])

    assert refusal.value.members == ("a",)


def test_a_chain_of_a_hundred_thousand_is_ordered() -> None:
    graph = prerequisite_graph((i, i + 1) for i in range(100_000))

    assert graph.order == tuple(range(100_000, -1, -1))


@given(ACYCLIC, st.sets(st.integers(0, 12)))
def test_the_fringe_is_what_can_be_learned_next(pairs: list[tuple[int, int]], some: set[int]) -> None:
    graph = prerequisite_graph(pairs)
    known = set(graph.order) - needed_for(graph, some)  # whatever is left may hold nodes above unknown ones

    fringe = outer_fringe(graph, known)

    assert all(count_violations([node], graph.required, known) == 0 for node in fringe)
    assert not known & set(fringe)
    assert bool(fringe) == bool(set(graph.order) - known)  # a finite graph without a cycle always goes on


@given(ACYCLIC, st.sets(st.integers(0, 12)))
def test_what_is_needed_is_what_networkx_calls_descendants(pairs: list[tuple[int, int]], targets: set[int]) -> None:
    graph = prerequisite_graph(pairs)
    reference = nx.DiGraph(pairs)
    expected = targets | {n for t in targets & set(reference) for n in nx.descendants(reference, t)}

    assert needed_for(graph, targets) == expected
