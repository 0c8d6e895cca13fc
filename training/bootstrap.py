"""`python -m training.bootstrap`: whatever a first start lacks, and nothing else; what `make serve` runs first.

A registry whose folder was moved is told its new place. A model without a champion is fitted, and a module without a
snapshot of features gets one; where there is neither mart nor any champion, on a simulated platform. Where nothing is
missing this ends in a tenth of a second: neither MLflow nor pandas is imported before.
"""

import argparse
import os
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

from training.models import MODELS, SNAPSHOTS
from training.registry import embedded_file, registry_uri, relocate

# Primary key (name, alias) of MLflow's table.
CHAMPIONS = "select name from registered_model_aliases where alias = 'champion'"


def main(arguments: Sequence[str] | None = None) -> int:
    """Makes what is missing; 0 when a server has something to serve."""
    parser = argparse.ArgumentParser(prog="python -m training.bootstrap", description=__doc__)
    parser.add_argument("--users", type=int, default=2_500, help="size of the simulated platform")
    parser.add_argument("--mart", type=Path, default=Path("data/mart"), help="folder of the mart")
    parser.add_argument("--only-paths", action="store_true", help="make nothing; only follow a folder that was moved")
    chosen = parser.parse_args(arguments)
    follow_moved_folder(registry_uri(os.environ))
    if chosen.only_paths or is_complete(registry_uri(os.environ)):
        return 0
    has_champion = champions(registry_uri(os.environ))
    lacking_snapshots = [module for module, model in SNAPSHOTS.items() if model not in has_champion]
    has_mart = (chosen.mart / "mart.json").exists()
    if has_champion and not has_mart:
        # Somebody's own data were collected elsewhere: a model of simulated people must not join theirs unasked.
        fits = [f"fit {model}" for model in MODELS if model not in has_champion]
        lacking = ", ".join([*fits, *(f"snapshot {module}" for module in lacking_snapshots)])
        sys.stderr.write(f"no mart in {chosen.mart}: collect data, then python -m training: {lacking}\n")
        return 0
    from training.__main__ import app  # brings pandas, xgboost and MLflow, two seconds that a second start saves

    if not has_mart:
        simulate = ["data", "simulate", "--users", str(chosen.users), "--mart", str(chosen.mart)]
        if code := app(simulate, standalone_mode=False):
            return int(code)
    for model in MODELS:
        if model in has_champion:
            continue
        # A gate that refuses one model, or data that do not suffice for it, keep no other from its callers.
        app(["fit", model, "--mart", str(chosen.mart)], standalone_mode=False)
    for module in lacking_snapshots:
        app(["snapshot", module, "--mart", str(chosen.mart)], standalone_mode=False)
    return 0 if champions(registry_uri(os.environ)) else 1  # 1: nothing to serve, and the commands have said why


def follow_moved_folder(uri: str) -> None:
    """Write an embedded registry's present place into it, so that server and MLflow find its files after a move."""
    database = embedded_file(uri)
    if database is not None and database.exists():
        with suppress(sqlite3.OperationalError):  # without tables nothing can be wrong; locked, the next start does it
            relocate(database)


def is_complete(uri: str) -> bool:
    """Whether nothing is to be made: every model has a champion, or the registry is somebody else's to fill.

    A registry over HTTP belongs to a team; training simulated models into it on a server's start would be a surprise.
    """
    database = embedded_file(uri)
    if database is None:
        return True
    try:
        return champions(uri) >= {*MODELS, *SNAPSHOTS.values()}
    except sqlite3.OperationalError:
        return True  # locked by a writer: somebody has a registry here


def champions(uri: str) -> set[str]:
    """Models of an embedded registry that have a champion; none where an earlier start was cut short.

    Raises: sqlite3.OperationalError: a writer has locked it.
    """
    database = embedded_file(uri)
    if database is None or not database.exists():
        return set()
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
        try:
            return {str(row[0]) for row in connection.execute(CHAMPIONS)}
        except sqlite3.OperationalError as failure:
            if "no such table" in str(failure):
                return set()
            raise


if __name__ == "__main__":
    raise SystemExit(main())
