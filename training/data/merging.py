"""How new rows join those that are held: known ones are left out, changed ones replace their elders, keys stay unique.

Arrow tables in, Arrow tables out. Not here: which rows are good (validation.py); files (mart.py).
"""

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from training.data.columns import Table

KEY_SEPARATOR = "\x1f"  # stands in no id


def joined_keys(table: Table, rows: pa.Table) -> pa.Array:
    """(rows,) one text a row that names it."""
    parts = [rows[name].cast(pa.string()) for name in table.key]
    joined = pc.binary_join_element_wise(*parts, KEY_SEPARATOR) if len(parts) > 1 else parts[0]
    return joined.combine_chunks()


def without_known(table: Table, rows: pa.Table, known: pa.Table) -> pa.Table:
    """Rows whose keys are not among the known ones (which need their key columns only)."""
    is_known = pc.is_in(joined_keys(table, rows), value_set=joined_keys(table, known))
    return rows.filter(pc.invert(is_known))


def replace_rows(table: Table, held: pa.Table, fresh: pa.Table) -> tuple[pa.Table, int]:
    """Held rows, less those whose keys came again, and the fresh ones; of a catalogue the fresh ones alone.

    Returns: all rows, and how many of them say something that was not held.
    """
    came = pc.is_in(joined_keys(table, held), value_set=joined_keys(table, fresh))
    elders = held.filter(came)
    kept = held.filter(pc.invert(came)) if table.time is not None else held.slice(0, 0)
    distinct = pa.concat_tables([elders, fresh]).group_by(list(table.names)).aggregate([]).num_rows
    return pa.concat_tables([kept, fresh]), distinct - elders.num_rows


def has_repeats(table: Table, files: Sequence[Path]) -> bool:
    """Whether a key stands in more than one row of these Parquet files; spills to disk when they are large."""
    keys = ", ".join(f'"{name}"' for name in table.key)  # names of our own tables, never of input
    statement = f"select 1 from read_parquet(?) group by {keys} having count(*) > 1 limit 1"  # noqa: S608 - see keys
    with duckdb.connect(config={"memory_limit": "2GB", "preserve_insertion_order": False}) as connection:
        return connection.execute(statement, [[str(file) for file in files]]).fetchone() is not None


def split_repeats(table: Table, rows: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The first row of every key, and the others."""
    again = rows.select(list(table.key)).to_pandas().duplicated().to_numpy()
    return rows.filter(pa.array(~again)), rows.filter(pa.array(again))
