"""What people read of a version: its place, its tags, and never a write over a person's hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from server.control.artifacts import Refusal, RefusalCode
from server.control.registry import Model, Version
from server.control.rollout import RAMP_NOTE, Bar, Confirmation, Snapshot
from server.control.writeback import SHADOW_REASON, TagWrite, places_of, record, status_document, tag_writes
from server.desired import ChallengerRoute, ChampionRoute, Desired, Load, Mode, Route

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DIGEST = {1: "a" * 64, 2: "b" * 64, 3: "c" * 64}


def aspired(**changes: Version) -> dict[str, Model]:
    versions = {number: Version(number=number, digest=digest) for number, digest in DIGEST.items()}
    versions |= {version.number: version for version in changes.values()}
    return {"churn": Model(name="churn", aliases={"champion": 1, "challenger": 2}, versions=versions)}


def snapshot(share_bp: int = 500, **changes: object) -> Snapshot:
    mode = Mode.CANARY if share_bp else Mode.SHADOW
    route = Route(
        champion=ChampionRoute(version=1, digest=DIGEST[1], since=NOW),
        challenger=ChallengerRoute(version=2, digest=DIGEST[2], since=NOW, mode=mode, share_bp=share_bp),
    )
    load = tuple(Load(model="churn", version=n, digest=DIGEST[n], folder=f"cache/{DIGEST[n]}") for n in (1, 2))
    desired = Desired(generation=4, load=load, route={"churn": route})
    base = Snapshot(
        now=NOW,
        desired=desired,
        written_at=NOW,
        aspired=aspired(),
        verified=frozenset(DIGEST.values()),
        processes={0: 100},
        confirmations={0: Confirmation(pid=100, generation=4, loaded=desired.digests)},
    )
    return replace(base, **changes)  # type: ignore[arg-type]  # a test names the fields that matter


def writes(state: Snapshot, seen: dict[str, Model]) -> dict[int, dict[str, str | None]]:
    found = tag_writes(record({}, places_of(state, {}), state.now), seen, state)
    return {write.version: dict(write.tags) for write in found}


def test_champion_and_canary_share_the_traffic() -> None:
    places = places_of(snapshot(share_bp=500), {})

    assert (places["churn", 1].state, places["churn", 1].share_bp) == ("live", 9_500)
    assert (places["churn", 2].state, places["churn", 2].share_bp) == ("live", 500)
    assert places["churn", 3].state == "verified"


def test_shadow_says_what_it_is() -> None:
    place = places_of(snapshot(share_bp=0), {})["churn", 2]

    assert (place.state, place.share_bp, place.reason) == ("live", 0, SHADOW_REASON)


def test_a_ramp_says_that_it_is_served_as_shadow() -> None:
    ramp = Version(number=2, digest=DIGEST[2], traffic={"traffic.mode": "ramp", "traffic.ramp": "1,5"})

    assert places_of(snapshot(share_bp=0, aspired=aspired(two=ramp)), {})["churn", 2].reason == RAMP_NOTE


def test_live_only_when_every_process_has_it_and_then_through_every_later_generation() -> None:
    behind = {0: Confirmation(pid=100, generation=3, loaded=frozenset())}
    loading = snapshot(confirmations=behind)
    assert places_of(loading, {})["churn", 1].state == "loading"

    before = record({}, places_of(snapshot(), {}), NOW)

    assert places_of(loading, before)["churn", 1].state == "live"


def test_a_version_that_was_live_is_retired_and_one_that_never_was_is_not() -> None:
    before = record({}, places_of(snapshot(), {}), NOW)
    route = Route(champion=ChampionRoute(version=3, digest=DIGEST[3], since=NOW))
    state = snapshot(desired=Desired(generation=5, route={"churn": route}))

    places = places_of(state, before)

    assert places["churn", 1].state == "retired"
    assert places_of(state, {})["churn", 2].state == "verified"


def test_each_kind_of_trouble_has_its_words() -> None:
    bar = Bar(model="churn", version=1, state="quarantined", reason="2 processes crashed", since=NOW)
    refusal = Refusal(code=RefusalCode.GOLDEN, text="golden answer 3 of 20 differs")
    bad_mix = Version(number=2, digest=DIGEST[2], traffic={"traffic.percent": "5"})
    untagged = Version(number=4, digest=None)
    state = snapshot(
        desired=Desired(),
        aspired=aspired(two=bad_mix, four=untagged),
        bars={DIGEST[1]: bar},
        refused={DIGEST[3]: refusal},
    )

    places = places_of(state, {})

    assert (places["churn", 1].state, places["churn", 1].reason) == ("quarantined", "2 processes crashed")
    assert (places["churn", 2].state, places["churn", 2].reason) == (
        "refused",
        "traffic.percent needs traffic.mode = canary",
    )
    assert (places["churn", 3].state, places["churn", 3].reason) == ("refused", refusal.text)
    assert places["churn", 4].state == "refused"
    assert "manifest.sha256" in places["churn", 4].reason


def test_what_answers_is_told_also_when_the_registry_has_lost_it() -> None:
    places = places_of(snapshot(aspired={}), {})

    assert {key: place.state for key, place in places.items()} == {("churn", 1): "live", ("churn", 2): "live"}


def test_since_stays_while_nothing_changes() -> None:
    before = record({}, places_of(snapshot(), {}), NOW)
    later = NOW + timedelta(hours=1)

    same = record(before, places_of(snapshot(), before), later)
    other = record(before, places_of(snapshot(share_bp=2_500), before), later)

    assert same["churn", 1].since == NOW
    assert other["churn", 1].since == later


def test_tags_are_written_once_and_then_left() -> None:
    first = writes(snapshot(), aspired())
    assert first[1] == {
        "serving.state": "live",
        "serving.since": "2026-01-01T00:00:00.000Z",
        "serving.share": "95",
    }
    assert first[2]["serving.share"] == "5"
    assert list(first[1])[-1] == "serving.state", "whoever sees the state finds the rest beside it"
    assert 3 not in first

    written = {
        f"v{number}": Version(
            number=number,
            digest=DIGEST[number],
            serving={key: value for key, value in tags.items() if value is not None},
        )
        for number, tags in first.items()
    }

    assert writes(snapshot(), aspired(**written)) == {}


def test_a_bar_that_a_person_may_be_deleting_is_never_written_again() -> None:
    bar = Bar(model="churn", version=2, state="suspended", reason="x", since=NOW)
    placed = snapshot(desired=Desired(), bars={DIGEST[2]: bar})
    seen_once = snapshot(desired=Desired(), bars={DIGEST[2]: replace(bar, in_registry=True)})

    assert writes(placed, aspired())[2]["serving.state"] == "suspended"
    assert 2 not in writes(seen_once, aspired())


def test_a_bar_of_the_registry_is_left_as_it_stands() -> None:
    barred = Version(
        number=2,
        digest=DIGEST[2],
        barred="rolled_back",
        serving={"serving.state": "rolled_back", "serving.reason": "p"},
    )
    state = snapshot(desired=Desired(), aspired=aspired(two=barred))

    assert places_of(state, {})["churn", 2].reason == "p"
    assert 2 not in writes(state, aspired(two=barred))


def test_a_refusal_that_no_longer_holds_is_taken_off() -> None:
    once_refused = Version(
        number=3, digest=DIGEST[3], serving={"serving.state": "refused", "serving.reason": "upgrade the server first"}
    )

    assert set(writes(snapshot(), aspired(three=once_refused))[3].values()) == {None}


def test_nothing_is_written_on_another_version_that_took_the_number() -> None:
    taken = Version(number=1, digest="f" * 64)

    assert 1 not in writes(snapshot(), aspired(one=taken))


def test_the_status_file_says_what_an_unknown_switch_did() -> None:
    model = replace(aspired()["churn"], switch="maybe")
    state = snapshot(aspired={"churn": model})

    document = status_document(state, record({}, places_of(state, {}), NOW), registry={"state": "OK"})

    assert document["warnings"] == ["churn: traffic.switch 'maybe' is unknown; use enabled, fallback_only or off"]
    assert document["generation"] == 4


def test_a_write_names_its_version() -> None:
    found = list(tag_writes(record({}, places_of(snapshot(), {}), NOW), aspired(), snapshot()))

    assert all(isinstance(write, TagWrite) and write.model == "churn" for write in found)
