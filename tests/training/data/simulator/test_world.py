import re
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import training.data
from training.data import tables
from training.data.columns import as_seen_at
from training.data.simulator.parameters import Parameters, PeopleParameters, world_until
from training.data.simulator.people import People
from training.data.simulator.world import simulate
from training.data.tables import TABLES, table_named
from training.data.validation import check

World = dict[str, pa.Table]


def test_equal_parameters_give_equal_tables_and_another_seed_others(world: World, parameters: Parameters) -> None:
    again = [batch["answers"] for batch in simulate(parameters) if "answers" in batch]
    other = [batch["answers"] for batch in simulate(replace(parameters, seed=21)) if "answers" in batch]

    assert pa.concat_tables(again).equals(world["answers"])
    assert not pa.concat_tables(other).equals(world["answers"])


def test_the_first_people_are_the_same_in_a_larger_world(world: World, parameters: Parameters) -> None:
    larger = next(batch for batch in simulate(replace(parameters, users=1_000)) if "users" in batch)

    assert larger["users"].equals(world["users"].slice(0, 150))


def test_a_world_of_a_later_week_is_the_same_world_a_week_later() -> None:
    monday = datetime(2026, 3, 2, tzinfo=UTC)
    first, second = (world_until(day, users=50, weeks=20) for day in (monday, monday + timedelta(days=7)))

    paid_first, paid_second = (
        next(batch for batch in simulate(world) if "payments" in batch)["payments"].to_pandas()
        for world in (first, second)
    )

    assert ((paid_second["attempted_at"] - paid_first["attempted_at"]) == timedelta(days=7)).all()


def test_every_row_keeps_the_rules_of_its_table(world: World) -> None:
    for table in TABLES:
        parents = {
            c.refers: world[c.refers][table_named(c.refers).key[0]].combine_chunks() for c in table.columns if c.refers
        }
        judged = check(table, world[table.name], parents)
        assert judged.bad.num_rows == 0, judged.bad.to_pylist()[:1]


def test_nothing_happens_after_the_worlds_end(world: World, parameters: Parameters) -> None:
    for table in TABLES:
        assert as_seen_at(table, world[table.name], parameters.end).equals(world[table.name])


def test_hidden_state_stands_in_no_table(world: World) -> None:
    columns = {name for rows in world.values() for name in rows.column_names}
    shown = {"first", "joined", "role", "country", "certification", "referrer", "due", "exam", "brand"}

    hidden = {field.name for field in fields(People)} - shown
    assert {"ability", "engagement", "thrift", "frailty"} < hidden
    assert not columns & hidden


def test_training_reads_the_simulator_as_a_source_and_in_no_other_way() -> None:
    house = Path(training.data.__path__[0]).parent
    allowed = {"sources.py": {"parameters", "world"}}

    for file in house.rglob("*.py"):
        if file.parent.name == "simulator":
            continue
        imported = set(re.findall(r"training\.data\.simulator\.(\w+)", file.read_text(encoding="utf-8")))
        assert imported <= allowed.get(file.name, {"parameters"}), file.name


def test_sessions_lie_within_a_subscription_of_their_user(world: World) -> None:
    sessions, spells = world["sessions"].to_pandas(), world["subscriptions"].to_pandas()

    pairs = sessions[["session_id", "user_id", "started_at"]].merge(spells, on="user_id", suffixes=("", "_spell"))
    inside = (pairs["started_at"] >= pairs["started_at_spell"]) & ~(pairs["started_at"] >= pairs["ended_at"])

    assert set(pairs.loc[inside, "session_id"]) == set(sessions["session_id"])


def test_a_hard_decline_is_never_retried_before_the_last_chance(world: World) -> None:
    payments = world["payments"].to_pandas().sort_values(["subscription_id", "attempted_at"])
    after = payments.groupby("subscription_id")["attempt"].shift(-1)
    is_hard = payments["decline_code"].isin(tables.HARD_DECLINES)

    following = after[is_hard & (after > payments["attempt"])]

    assert is_hard.sum() > 5
    assert (following == 4).all()  # another card


def test_use_declines_before_people_leave_by_choice(parameters: Parameters) -> None:
    batches = [batch for batch in simulate(Parameters(start=parameters.start)) if "users" in batch]
    spells, sessions = (
        pa.concat_tables([b[name] for b in batches]).to_pandas() for name in ("subscriptions", "sessions")
    )
    stayed = spells["ended_at"] - spells["started_at"]
    left = spells[(spells["end_reason"] == "VOLUNTARY") & (stayed > timedelta(days=112))]
    pairs = left.merge(sessions[["user_id", "started_at"]], on="user_id", suffixes=("", "_session"))
    days = (pairs["ended_at"] - pairs["started_at_session"]).dt.total_seconds() / 86_400

    last, earlier = days.between(0, 28).sum(), days.between(84, 112).sum()

    assert len(left) > 50
    assert last < 0.85 * earlier


def test_payment_failures_end_about_a_quarter_of_the_subscriptions_that_end(world: World) -> None:
    reasons = world["subscriptions"].to_pandas()["end_reason"].dropna()

    # Standard error with about 90 endings: 0.05.
    assert (reasons == "PAYMENT").mean() == pytest.approx(0.25, abs=0.15)


def test_the_dearer_the_price_the_fewer_buy(world: World) -> None:
    shown = world["price_exposures"].to_pandas().query("randomised and plan == 'MONTHLY'")
    bought = shown["user_id"].notna().groupby(shown["price_minor"]).mean()

    assert bought.iloc[0] > bought.iloc[-1]
    assert np.corrcoef(bought.index, bought)[0, 1] < -0.5


def test_a_prices_propensity_is_how_often_it_was_shown(world: World) -> None:
    shown = world["price_exposures"].to_pandas().query("plan == 'MONTHLY'")
    by_price = shown.groupby("price_minor").agg(shown=("plan", "size"), propensity=("propensity", "first"))

    # Visitors come in groups of one buyer and those before, hence a standard error of about 0.04 on each share.
    assert (by_price["shown"] / len(shown) - by_price["propensity"]).abs().max() < 0.15


def test_referred_users_came_after_their_referrer_and_by_an_invite(world: World) -> None:
    users = world["users"].to_pandas().set_index("user_id")
    referred = users.dropna(subset="referrer_id")
    invited = world["invites"].to_pandas().dropna(subset="joined_user_id").set_index("joined_user_id")

    assert 0.1 < len(referred) / len(users) < 0.3
    assert (referred["joined_at"].to_numpy() >= users.loc[referred["referrer_id"], "joined_at"].to_numpy()).all()
    assert set(invited.index) == set(referred.index)
    assert (invited["sent_at"] <= invited["joined_at"]).all()


def test_nobody_is_referred_in_a_world_without_referral(parameters: Parameters) -> None:
    alone = replace(parameters, users=100, people=PeopleParameters(referred=0.0))
    batch = next(batch for batch in simulate(alone) if "users" in batch)

    assert batch["users"]["referrer_id"].null_count == 100
    assert batch["invites"].num_rows == 0


def test_answers_fade_with_the_pause_since_the_last_practice(world: World) -> None:
    answers = world["answers"].to_pandas().merge(world["items"].to_pandas(), on="item_id")
    answers = answers.sort_values(["user_id", "skill_id", "answered_at"])
    by_skill = answers.groupby(["user_id", "skill_id"])
    pause = by_skill["answered_at"].diff() / pd.Timedelta(days=1)
    right_again = answers["correct"][by_skill["correct"].shift().eq(True)]

    fresh, old = right_again[pause < 1].mean(), right_again[pause > 90].mean()

    # 640 answers after more than 90 days: standard error 0.018.
    assert fresh - old > 0.04


def test_daily_metrics_add_up_to_the_events(world: World, parameters: Parameters) -> None:
    metrics = world["daily_metrics"].to_pandas()
    totals = metrics.groupby("metric")["value"].sum()

    assert totals["SESSIONS"] == world["sessions"].num_rows
    assert totals["NEW_USERS"] == parameters.users
    assert totals["TICKETS"] == world["tickets"].num_rows
    assert metrics.query("metric == 'PAYMENT_SUCCESS_SHARE'")["value"].between(0, 1).all()
    active = metrics.query("metric == 'ACTIVE_USERS'")["value"].to_numpy()
    assert (active <= metrics.query("metric == 'SESSIONS'")["value"].to_numpy()).all()
