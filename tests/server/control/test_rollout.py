"""The next step: two phases, cuts at once, the champion kept, bars until a person lifts them. No server, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.control.artifacts import Refusal, RefusalCode
from server.control.registry import Model, Version
from server.control.rollout import (
    CONFIRM_TIMEOUT,
    RAMP_NOTE,
    Bar,
    Candidate,
    Confirmation,
    EndHold,
    LiftBar,
    MarkBar,
    PlaceBar,
    Refuse,
    Snapshot,
    Traffic,
    Write,
    next_step,
    parse_traffic,
    wanted_routes,
)
from server.desired import ChallengerRoute, ChampionRoute, Desired, Load, Mode, Route, Switch
from server.holds import Hold, HoldKind

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DIGEST = {number: f"{number:x}" * 64 for number in range(1, 6)}
WORKERS = {0: 100, 1: 101}


def version(number: int, *, barred: str | None = None, **traffic: str) -> Version:
    tags = {f"traffic.{key}": value for key, value in traffic.items()}
    return Version(number=number, digest=DIGEST[number], traffic=tags, barred=barred)


def model(*versions: Version, switch: str | None = None, **aliases: int) -> Mapping[str, Model]:
    found = {entry.number: entry for entry in versions or map(version, DIGEST)}
    return {"churn": Model(name="churn", aliases=aliases, switch=switch, versions=found)}


def load(number: int) -> Load:
    return Load(model="churn", version=number, digest=DIGEST[number], folder=f"cache/{DIGEST[number]}")


def champion(number: int) -> ChampionRoute:
    return ChampionRoute(version=number, digest=DIGEST[number], since=NOW)


def challenger(number: int, share_bp: int = 0) -> ChallengerRoute:
    mode = Mode.CANARY if share_bp else Mode.SHADOW
    return ChallengerRoute(version=number, digest=DIGEST[number], since=NOW, mode=mode, share_bp=share_bp)


def serving(number: int, beside: ChallengerRoute | None = None, *extra: int) -> Desired:
    numbers = [number, *([beside.version] if beside else []), *extra]
    route = Route(champion=champion(number), challenger=beside)
    return Desired(generation=5, load=tuple(map(load, numbers)), route={"churn": route})


def confirmations(desired: Desired) -> dict[int, Confirmation]:
    return {
        slot: Confirmation(pid=pid, generation=desired.generation, loaded=desired.digests)
        for slot, pid in WORKERS.items()
    }


def snapshot(desired: Desired, **changes: object) -> Snapshot:
    base = Snapshot(
        now=NOW,
        desired=desired,
        written_at=NOW,
        verified=frozenset(DIGEST.values()),
        processes=WORKERS,
        confirmations=confirmations(desired),
    )
    return replace(base, **changes)  # type: ignore[arg-type]  # a test names the fields that matter


def settle_down(start: Snapshot) -> tuple[Snapshot, list[Write]]:
    """Carry out every step with workers that obey at once."""
    writes: list[Write] = []
    for _ in range(20):
        step = next_step(start)
        if not isinstance(step, Write):
            return start, writes
        writes.append(step)
        start = replace(start, desired=step.desired, confirmations=confirmations(step.desired))
    raise AssertionError("no end of steps")


def test_a_first_champion_is_loaded_then_routed() -> None:
    end, writes = settle_down(snapshot(Desired(), aspired=model(champion=1)))

    assert [write.phase for write in writes] == ["load", "route"]
    assert writes[0].desired.route == {}
    assert end.desired.route["churn"].champion == champion(1)
    assert end.desired.generation == 2


def test_a_promotion_loads_routes_and_drops_in_that_order() -> None:
    _, writes = settle_down(snapshot(serving(1), aspired=model(champion=2)))

    assert [write.phase for write in writes] == ["load", "route", "drop"]
    assert writes[0].desired.route == serving(1).route
    assert writes[0].desired.digests == {DIGEST[1], DIGEST[2]}
    assert writes[1].desired.route["churn"].champion == champion(2)
    assert writes[2].desired.digests == {DIGEST[2]}
    assert [write.desired.generation for write in writes] == [6, 7, 8]


def test_nothing_is_routed_before_every_live_process_has_loaded_it() -> None:
    loading = replace(serving(1, None, 2), generation=6)
    one_is_slow = {**confirmations(loading), 1: Confirmation(pid=101, generation=5, loaded=frozenset({DIGEST[1]}))}

    step = next_step(snapshot(loading, aspired=model(champion=2), confirmations=one_is_slow))

    assert step is None


def test_a_process_that_never_confirms_is_named_and_not_waited_for_any_longer() -> None:
    loading = replace(serving(1, None, 2), generation=6)
    waiting = snapshot(loading, aspired=model(champion=2), confirmations={0: confirmations(loading)[0]})

    step = next_step(replace(waiting, now=NOW + CONFIRM_TIMEOUT))

    assert isinstance(step, Write)
    assert step.phase == "route"
    assert step.silent == (1,)


def test_the_word_of_a_process_that_died_does_not_count_for_the_one_in_its_place() -> None:
    loading = replace(serving(1, None, 2), generation=6)

    step = next_step(snapshot(loading, aspired=model(champion=2), processes={0: 100, 1: 999}))

    assert step is None


def test_what_is_routed_stays_when_one_process_cannot_load_it_again() -> None:
    said = {**confirmations(serving(1))}
    said[1] = Confirmation(pid=101, generation=5, loaded=frozenset(), refused={DIGEST[1]: "no memory just now"})

    assert next_step(snapshot(serving(1), aspired=model(champion=1), confirmations=said)) is None


def test_what_a_process_cannot_load_is_refused_and_the_champion_stays() -> None:
    loading = replace(serving(1, None, 2), generation=6)
    said = {**confirmations(loading)}
    said[1] = Confirmation(pid=101, generation=5, loaded=frozenset({DIGEST[1]}), refused={DIGEST[2]: "no memory"})
    start = snapshot(loading, aspired=model(champion=2), confirmations=said)

    step = next_step(start)

    assert isinstance(step, Refuse)
    assert step.digest == DIGEST[2]
    assert "process 1 could not load it: no memory" in step.refusal.text
    end, writes = settle_down(replace(start, refused={DIGEST[2]: step.refusal}))
    assert [write.phase for write in writes] == ["drop"]
    assert end.desired.route == serving(1).route


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"aspired": None}, id="registry never read"),
        pytest.param({"aspired": {}}, id="model not in the registry"),
        pytest.param({"aspired": model()}, id="no alias"),
        pytest.param({"aspired": model(champion=2), "verified": frozenset({DIGEST[1]})}, id="not verified yet"),
        pytest.param({"aspired": model(version(1), champion=2)}, id="alias on a version that is gone"),
        pytest.param({"aspired": model(champion=1), "verified": frozenset()}, id="the cache rotted"),
        pytest.param(
            {"aspired": model(champion=2), "refused": {DIGEST[2]: Refusal(code=RefusalCode.GOLDEN, text="x")}},
            id="refused",
        ),
        pytest.param({"aspired": model(version(1), version(2, barred="rolled_back"), champion=2)}, id="barred"),
    ],
)
def test_the_champion_that_answers_is_kept(changes: dict[str, object]) -> None:
    assert next_step(snapshot(serving(1), **changes)) is None


def test_a_challenger_without_tags_is_in_shadow() -> None:
    end, _ = settle_down(snapshot(serving(1), aspired=model(champion=1, challenger=2)))

    assert end.desired.route["churn"].challenger == challenger(2)


def test_a_canary_gets_its_share_and_keeps_its_time_while_nothing_changes() -> None:
    wish = model(version(1), version(2, mode="canary", percent="5"), champion=1, challenger=2)
    end, _ = settle_down(snapshot(serving(1), aspired=wish))

    assert end.desired.route["churn"].challenger == challenger(2, 500)
    assert next_step(replace(end, now=NOW + timedelta(days=1))) is None


def test_another_share_needs_one_step_and_no_loading() -> None:
    wish = model(version(1), version(2, mode="canary", percent="25"), champion=1, challenger=2)

    _, writes = settle_down(snapshot(serving(1, challenger(2, 500)), aspired=wish))

    assert [write.phase for write in writes] == ["route"]


def test_the_challenger_that_becomes_champion_leaves_its_place() -> None:
    end, writes = settle_down(snapshot(serving(1, challenger(2, 500)), aspired=model(champion=2, challenger=2)))

    assert [write.phase for write in writes] == ["route", "drop"]
    assert end.desired.route["churn"] == Route(champion=champion(2))


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"mode": "canary"}, "traffic.percent"),
        ({"mode": "canary", "percent": "0"}, "above 0"),
        ({"mode": "canary", "percent": "101"}, "at most 100"),
        ({"mode": "canary", "percent": "nan"}, "above 0"),
        ({"mode": "canary", "percent": "1.234"}, "two decimals"),
        ({"mode": "canary", "percent": "1e999999"}, "a number such as 5"),
        ({"mode": "canary", "percent": "sNaN"}, "a number such as 5"),
        ({"mode": "canary", "percent": "five"}, "a number such as 5"),
        ({"percent": "5"}, "needs traffic.mode = canary"),
        ({"mode": "shadow", "percent": "5"}, "needs traffic.mode = canary"),
        ({"mode": "mirror"}, "'mirror' is unknown"),
        ({"ramp": "1,5"}, "traffic.ramp needs traffic.mode = ramp"),
        ({"mode": "canary", "percent": "5", "ramp": "1,5"}, "traffic.ramp needs"),
        ({"mode": "ramp"}, "needs traffic.ramp"),
    ],
)
def test_any_other_mix_of_tags_is_refused_with_the_reason(tags: dict[str, str], said: str) -> None:
    found = parse_traffic({f"traffic.{key}": value for key, value in tags.items()})

    assert isinstance(found, Refusal)
    assert said in found.text
    wish = model(version(1), version(2, **tags), champion=1, challenger=2)
    assert next_step(snapshot(serving(1), aspired=wish)) is None


def test_a_ramp_is_served_as_shadow_and_says_so() -> None:
    assert parse_traffic({"traffic.mode": "ramp", "traffic.ramp": "1,5"}) == Traffic(note=RAMP_NOTE)


@given(share_bp=st.integers(min_value=1, max_value=10_000))
def test_every_share_of_two_decimals_is_read_exactly(share_bp: int) -> None:
    found = parse_traffic({"traffic.mode": "canary", "traffic.percent": f"{share_bp / 100:.2f}"})

    assert found == Traffic(mode=Mode.CANARY, share_bp=share_bp)


def test_a_challenger_is_suspended_at_its_first_crash_and_cut_at_once() -> None:
    start = snapshot(
        serving(1, challenger(2, 500)), aspired=model(champion=1, challenger=2), crashes={DIGEST[2]: 1}, processes={}
    )

    step = next_step(start)

    assert isinstance(step, PlaceBar)
    assert (step.digest, step.bar.state) == (DIGEST[2], "suspended")
    end, writes = settle_down(replace(start, bars={DIGEST[2]: step.bar}))
    assert writes[0].phase == "route"
    assert end.desired.route["churn"] == Route(champion=champion(1))


def test_a_cut_waits_for_no_confirmation_even_beside_a_load() -> None:
    bar = Bar(model="churn", version=2, state="suspended", reason="x", since=NOW)
    loading = replace(serving(1, challenger(2, 500), 3), generation=6)
    start = snapshot(loading, aspired=model(champion=3, challenger=2), bars={DIGEST[2]: bar}, confirmations={})

    step = next_step(start)

    assert isinstance(step, Write)
    assert step.desired.route["churn"] == Route(champion=champion(1))


def test_a_champion_is_quarantined_at_its_second_crash_and_the_previous_one_answers() -> None:
    start = snapshot(serving(2), aspired=model(champion=2, previous=1), crashes={DIGEST[2]: 1})
    assert next_step(start) is None

    step = next_step(replace(start, crashes={DIGEST[2]: 2}))

    assert isinstance(step, PlaceBar)
    assert step.bar.state == "quarantined"
    end, writes = settle_down(replace(start, crashes={DIGEST[2]: 2}, bars={DIGEST[2]: step.bar}))
    assert [write.phase for write in writes] == ["load", "route", "drop"]
    assert end.desired.route["churn"].champion == champion(1)


def test_without_a_previous_one_the_last_good_champion_answers() -> None:
    bar = Bar(model="churn", version=2, state="quarantined", reason="x", since=NOW)
    history = {"churn": tuple(Candidate(model="churn", version=n, digest=DIGEST[n]) for n in (2, 3, 1))}

    end, _ = settle_down(snapshot(serving(2), aspired=model(champion=2), bars={DIGEST[2]: bar}, history=history))

    assert end.desired.route["churn"].champion == champion(3)


def test_a_quarantined_champion_that_nothing_can_replace_leaves_the_traffic() -> None:
    bar = Bar(model="churn", version=1, state="quarantined", reason="x", since=NOW)

    end, _ = settle_down(snapshot(serving(1, challenger(2)), aspired=model(champion=1), bars={DIGEST[1]: bar}))

    assert end.desired.route == {}
    assert end.desired.load == ()


def test_a_bar_is_lifted_only_after_its_tag_was_seen_and_then_deleted() -> None:
    bar = Bar(model="churn", version=2, state="suspended", reason="x", since=NOW)
    untagged, tagged = model(champion=1, challenger=2), model(version(1), version(2, barred="suspended"), champion=1)
    start = snapshot(serving(1), aspired=untagged, bars={DIGEST[2]: bar})
    assert next_step(start) is None

    seen = next_step(replace(start, aspired=tagged))
    assert seen == MarkBar(digest=DIGEST[2])

    marked = replace(start, bars={DIGEST[2]: replace(bar, in_registry=True)})
    assert next_step(replace(marked, aspired=tagged)) is None
    assert next_step(marked) == LiftBar(digest=DIGEST[2])


@pytest.mark.parametrize(("tag", "switch"), [("off", Switch.OFF), ("fallback_only", Switch.FALLBACK_ONLY)])
def test_the_switch_is_one_step_and_keeps_what_is_loaded(tag: str, switch: Switch) -> None:
    end, writes = settle_down(snapshot(serving(1), aspired=model(champion=1, switch=tag)))

    assert [write.phase for write in writes] == ["route"]
    assert end.desired.route["churn"] == Route(switch=switch, champion=champion(1))


def test_an_unknown_switch_changes_nothing() -> None:
    assert next_step(snapshot(serving(1), aspired=model(champion=1, switch="maybe"))) is None


def test_a_hold_answers_before_the_registry_and_ends_when_they_agree() -> None:
    hold = Hold(kind=HoldKind.VERSION, model="churn", version=3, start=NOW, until=NOW + timedelta(hours=1))
    end, _ = settle_down(snapshot(serving(1), aspired=model(champion=1), holds=(hold,)))

    assert end.desired.route["churn"].champion == champion(3)
    assert next_step(replace(end, aspired=model(champion=3))) == EndHold(hold=hold)


def test_a_hold_works_while_the_registry_was_never_read() -> None:
    hold = Hold(kind=HoldKind.VERSION, model="churn", version=3, start=NOW, until=NOW + timedelta(hours=1))
    end, _ = settle_down(snapshot(serving(1), holds=(hold,), known={("churn", 3): DIGEST[3]}))

    assert end.desired.route["churn"].champion == champion(3)


def test_a_freeze_keeps_everything_but_a_bar() -> None:
    freeze = Hold(kind=HoldKind.FREEZE, start=NOW, until=NOW + timedelta(hours=1))
    frozen = snapshot(serving(1, challenger(2, 500)), aspired=model(champion=3, switch="off"), holds=(freeze,))
    assert next_step(frozen) is None

    bar = Bar(model="churn", version=2, state="suspended", reason="x", since=NOW)
    end, _ = settle_down(replace(frozen, bars={DIGEST[2]: bar}))

    assert end.desired.route["churn"] == Route(champion=champion(1))


def routed_digests(desired: Desired) -> set[str]:
    return {
        routed.digest for route in desired.route.values() for routed in (route.champion, route.challenger) if routed
    }


NUMBERS = st.sampled_from(sorted(DIGEST))
STATES = st.sampled_from(["suspended", "quarantined", "rolled_back"])


@st.composite
def any_snapshot(draw: st.DrawFn) -> Snapshot:
    """Any state of the world that can be written down, sensible or not."""
    routed = draw(st.one_of(st.none(), NUMBERS))
    beside = draw(st.one_of(st.none(), NUMBERS.filter(lambda n: n != routed))) if routed else None
    extra = draw(st.lists(NUMBERS, max_size=2, unique=True))
    share_bp = draw(st.sampled_from([0, 500]))
    desired = (
        replace(serving(routed, challenger(beside, share_bp) if beside else None), generation=draw(st.integers(1, 9)))
        if routed
        else Desired()
    )
    loads = {entry.digest: entry for entry in (*desired.load, *map(load, extra))}
    desired = replace(desired, load=tuple(loads.values()))
    versions = tuple(
        version(
            number,
            barred=draw(st.one_of(st.none(), STATES)),
            **draw(st.sampled_from([{}, {"mode": "canary", "percent": "5"}, {"mode": "x"}])),
        )
        for number in draw(st.lists(NUMBERS, max_size=4, unique=True))
    )
    aliases = draw(st.dictionaries(st.sampled_from(["champion", "challenger", "previous"]), NUMBERS))
    found = {"churn": Model(name="churn", aliases=aliases, versions={entry.number: entry for entry in versions})}
    aspired = draw(st.sampled_from([None, {}, found]))
    confirmed = {
        slot: Confirmation(
            pid=WORKERS[slot],
            generation=draw(st.integers(0, 9)),
            loaded=frozenset(DIGEST[n] for n in draw(st.lists(NUMBERS))),
            refused={DIGEST[n]: "why" for n in draw(st.lists(NUMBERS, max_size=1))},
        )
        for slot in draw(st.lists(st.sampled_from([0, 1]), unique=True))
    }
    barred = draw(st.lists(NUMBERS, max_size=2, unique=True))
    return snapshot(
        desired,
        now=NOW + timedelta(seconds=draw(st.sampled_from([0, 5, 20]))),
        aspired=aspired,
        verified=frozenset(DIGEST[n] for n in draw(st.lists(NUMBERS))),
        refused={DIGEST[n]: Refusal(code=RefusalCode.GOLDEN, text="x") for n in draw(st.lists(NUMBERS, max_size=2))},
        bars={
            DIGEST[n]: Bar(
                model="churn", version=n, state="suspended", reason="", since=NOW, in_registry=draw(st.booleans())
            )
            for n in barred
        },
        confirmations=confirmed,
        crashes={DIGEST[n]: draw(st.integers(1, 3)) for n in draw(st.lists(NUMBERS, max_size=2))},
    )


@settings(max_examples=300)
@given(state=any_snapshot())
def test_the_same_snapshot_gives_the_same_step(state: Snapshot) -> None:
    assert next_step(state) == next_step(state)


@settings(max_examples=300)
@given(state=any_snapshot())
def test_a_step_never_takes_away_what_answers_unless_it_is_barred(state: Snapshot) -> None:
    step = next_step(state)

    if not isinstance(step, Write):
        return
    before, after = state.desired.route.get("churn", Route()), step.desired.route.get("churn", Route())
    assert step.desired.generation == state.desired.generation + 1
    routed = {entry.digest for entry in (after.champion, after.challenger) if entry}
    assert routed <= step.desired.digests, "a route names only what is loaded"
    if before.champion is not None and after.champion is None:
        known = (state.aspired or {}).get("churn", Model(name="churn")).versions.get(before.champion.version)
        assert before.champion.digest in state.bars or (known is not None and known.barred)
    if step.phase == "load":
        assert after == before, "loading never routes"
        assert state.desired.digests <= step.desired.digests


@settings(max_examples=300)
@given(state=any_snapshot())
def test_nothing_is_newly_routed_that_was_not_verified_or_is_barred(state: Snapshot) -> None:
    step = next_step(state)

    if not isinstance(step, Write):
        return
    before, after = state.desired.route.get("churn", Route()), step.desired.route.get("churn", Route())
    old = {entry.digest for entry in (before.champion, before.challenger) if entry}
    new = {entry.digest for entry in (after.champion, after.challenger) if entry} - old
    assert new <= state.verified
    assert not new & (state.bars.keys() | state.refused.keys())


@settings(max_examples=200)
@given(state=any_snapshot())
def test_obedient_workers_bring_every_state_to_rest(state: Snapshot) -> None:
    for _ in range(30):
        state = replace(state, confirmations=confirmations(state.desired))
        step = next_step(state)
        if step is None:
            break
        if isinstance(step, Write):
            state = replace(state, desired=step.desired)
        elif isinstance(step, PlaceBar):
            state = replace(state, bars={**state.bars, step.digest: step.bar})
        elif isinstance(step, MarkBar):
            state = replace(state, bars={**state.bars, step.digest: replace(state.bars[step.digest], in_registry=True)})
        elif isinstance(step, LiftBar):
            state = replace(
                state,
                bars={digest: bar for digest, bar in state.bars.items() if digest != step.digest},
                crashes={digest: n for digest, n in state.crashes.items() if digest != step.digest},
            )
        elif isinstance(step, Refuse):
            state = replace(state, refused={**state.refused, step.digest: step.refusal})
    else:
        raise AssertionError("it never comes to rest")

    assert wanted_routes(state) == state.desired.route
    assert state.desired.digests == routed_digests(state.desired)
