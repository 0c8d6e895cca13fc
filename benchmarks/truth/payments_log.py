"""`python -m benchmarks.truth.payments_log --out DIR`: attempts of the simulated platform in the documented format.

Not here: what the log is judged for (payments.py).
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import pandas as pd
import pyarrow as pa
import typer

from training.data.simulator.parameters import DEFAULT_USERS, DEFAULT_WEEKS, world_until
from training.data.simulator.world import simulate
from training.features.payments import PAYER, PAYMENT, payments_frame

WORLD_ENDS = datetime(2026, 1, 5, tzinfo=UTC)  # any fixed day: equal options give equal logs
COLUMNS = (
    *("time", "amount_minor", "currency", "country", "card_brand", "route", "fee_minor", "succeeded"),
    *("decline_code", "attempt", PAYER, PAYMENT),
)


def main(
    out: Annotated[Path, typer.Option(help="Folder to write payments.csv.gz to.", file_okay=False)],
    users: Annotated[int, typer.Option(help="Accounts of the simulated platform.", min=50)] = DEFAULT_USERS,
    weeks: Annotated[int, typer.Option(help="Weeks that it runs.", min=8)] = DEFAULT_WEEKS,
    seed: Annotated[int, typer.Option(help="Seed of the world.")] = 20,
) -> None:
    """Write the log."""
    log = simulated_log(users=users, weeks=weeks, seed=seed)
    out.mkdir(parents=True, exist_ok=True)
    log.to_csv(out / "payments.csv.gz", index=False)
    typer.echo(f"{len(log):,} attempts in {out / 'payments.csv.gz'}")


def simulated_log(*, users: int, weeks: int, seed: int) -> pd.DataFrame:
    """Attempts of a simulated world, in the documented format."""
    world = simulate(world_until(WORLD_ENDS, users=users, weeks=weeks, seed=seed))
    payments = pa.concat_tables([batch["payments"] for batch in world if "payments" in batch])
    log = payments_frame(payments.to_pandas())[list(COLUMNS)]
    return log.assign(succeeded=log["succeeded"].astype(int))


if __name__ == "__main__":
    typer.run(main)
