"""Swaps: whatever the desired state, the steps end, and no route ever names a version that is not loaded."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from server.desired import ChallengerRoute, ChampionRoute, Desired, Load, Mode, Route
from server.serving.deployments import (
    Deployment,
    DropStep,
    Facts,
    LoadStep,
    Routes,
    RouteStep,
    Snapshot,
    make_routes,
    next_swap,
    routed_digests,
)

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
DIGESTS = [f"{index:064x}" for index in range(1, 6)]


def deployment(digest: str) -> Deployment[None]:
    facts = Facts(data_version="d", data_time=SINCE, observations=1, currency=None)
    version = DIGESTS.index(digest) + 1
    return Deployment(model="churn", version=version, digest=digest, prefix=1, facts=facts, asked=None)


def desired(generation: int, load: list[str], champion: str | None, challenger: str | None = None) -> Desired:
    return Desired(
        generation=generation,
        load=tuple(
            Load(model="churn", version=DIGESTS.index(each) + 1, digest=each, folder=f"cache/{each}") for each in load
        ),
        route={
            "churn": Route(
                champion=None if champion is None else ChampionRoute(version=1, digest=champion, since=SINCE),
                challenger=None
                if challenger is None
                else ChallengerRoute(version=2, digest=challenger, since=SINCE, mode=Mode.CANARY, share_bp=100),
            )
        },
    )


class House:
    """Carries steps out as the follower does, without files and threads."""

    def __init__(self, broken: set[str]) -> None:
        self.broken = broken
        self.desired = Desired()
        self.loaded: dict[str, Deployment[None]] = {}
        self.refused: set[str] = set()
        self.routes = Routes()
        self.routed_generation = -1
        self.steps = 0

    def settle(self, wanted: Desired) -> None:
        if wanted.generation > self.desired.generation:
            self.desired, self.refused = wanted, set()
        while (step := next_swap(self.snapshot())) is not None:
            self.steps += 1
            match step:
                case LoadStep(load=load) if load.digest in self.broken:
                    self.refused.add(load.digest)
                case LoadStep(load=load):
                    self.loaded[load.digest] = deployment(load.digest)
                case RouteStep():
                    self.routes = make_routes(self.desired, self.loaded, self.routes)
                    self.routed_generation = self.desired.generation
                case DropStep(digests=digests):
                    for digest in digests:
                        del self.loaded[digest]
            assert routed_digests(self.routes) <= set(self.loaded)

    def snapshot(self) -> Snapshot:
        return Snapshot(
            desired=self.desired,
            loaded=frozenset(self.loaded),
            refused=frozenset(self.refused),
            routed=routed_digests(self.routes),
            routed_generation=self.routed_generation,
        )


def champion_of(house: House) -> str | None:
    champion = house.routes.by_model["churn"].champion
    return None if champion is None else champion.digest


STATES = st.lists(
    st.tuples(st.sets(st.sampled_from(DIGESTS), min_size=1), st.sampled_from(DIGESTS), st.sampled_from(DIGESTS)),
    min_size=1,
    max_size=6,
)


@given(states=STATES, broken=st.sets(st.sampled_from(DIGESTS)))
def test_every_state_is_reached_in_finite_steps_with_routes_to_loaded_versions_only(
    states: list[tuple[set[str], str, str]], broken: set[str]
) -> None:
    house = House(broken)

    for generation, (load, champion, challenger) in enumerate(states, start=1):
        wanted = sorted(load | {champion, challenger})
        house.settle(desired(generation, wanted, champion, challenger if challenger != champion else None))

        assert next_swap(house.snapshot()) is None
        if champion not in broken:
            assert champion_of(house) == champion
        assert set(house.loaded) >= set(wanted) - broken
    assert house.steps <= 20 * len(states)


def test_a_champion_that_cannot_be_loaded_leaves_the_old_one_serving() -> None:
    house = House(broken={DIGESTS[1]})
    house.settle(desired(1, DIGESTS[:1], DIGESTS[0]))

    house.settle(desired(2, DIGESTS[:2], DIGESTS[1]))

    assert champion_of(house) == DIGESTS[0]


def test_versions_are_loaded_before_they_are_routed_and_dropped_after() -> None:
    house = House(broken=set())
    house.settle(desired(1, DIGESTS[:1], DIGESTS[0]))

    house.desired = desired(2, DIGESTS[1:2], DIGESTS[1])
    first = next_swap(house.snapshot())
    house.loaded[DIGESTS[1]] = deployment(DIGESTS[1])
    second = next_swap(house.snapshot())
    house.routes, house.routed_generation = make_routes(house.desired, house.loaded, house.routes), 2
    third = next_swap(house.snapshot())

    assert isinstance(first, LoadStep)
    assert isinstance(second, RouteStep)
    assert third == DropStep(digests=frozenset({DIGESTS[0]}))


def test_a_new_generation_tries_a_refused_version_again() -> None:
    house = House(broken={DIGESTS[1]})
    house.settle(desired(1, DIGESTS[:2], DIGESTS[0]))
    assert DIGESTS[1] not in house.loaded

    house.broken = set()
    house.settle(desired(2, DIGESTS[:2], DIGESTS[1]))

    assert champion_of(house) == DIGESTS[1]
