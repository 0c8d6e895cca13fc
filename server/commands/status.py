"""`status`: ask the running server; when it does not answer, read its state folder and say so.

Exit code 0: the server answers and is not unhealthy; 1: it does not answer, or it is unhealthy.
Not here: what the words mean (view.py, the contract's comments).
"""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from server.commands.view import SystemView, view_of_answer, view_of_files
from server.desired import render_time
from server.preflight import lock_holder
from server.settings import Settings

if TYPE_CHECKING:  # `serve` shares this program and must not load grpc
    import grpc

ASK_SECONDS = 3.0
_COLOURS = {"HEALTHY": "green", "FOLLOWED": "green", "DEGRADED": "yellow", "AWAY": "yellow", "UNHEALTHY": "red"}


def status(settings: Settings, console: Console, *, as_json: bool) -> int:
    """Print the status; returns the exit code."""
    view = look(settings, now=datetime.now(UTC))
    if as_json:
        console.file.write(view_json(view) + "\n")
    else:
        console.print(view_table(view, now=datetime.now(UTC)))
    return 0 if view.source == "server" and view.health != "UNHEALTHY" else 1


def look(settings: Settings, *, now: datetime) -> SystemView:
    """Ask the server, else read its files."""
    from paedsresus.ml import Client, MlError  # loads grpc

    try:
        with Client(settings.listen, connections=1, credentials=_credentials(settings)) as client:
            answer = client.orchestration.get_system_status(timeout_seconds=ASK_SECONDS)
    except MlError as failure:
        holder = lock_holder(settings.state_dir)
        running = f"process {holder} holds the state folder" if holder else "no server runs in the state folder"
        why = f"{failure.code} {failure.reason}".rstrip()
        note = (
            f"{settings.listen} does not answer ({why}); {running}. "
            f"This is what was last written in {settings.state_dir}"
        )
        return view_of_files(settings, note=note, now=now)
    return view_of_answer(answer, settings)


def view_json(view: SystemView) -> str:
    """Return the view as JSON: the same names, times as in the state folder's files."""
    return json.dumps(dataclasses.asdict(view), default=_plain, indent=1)


def view_table(view: SystemView, *, now: datetime) -> Group:
    """Return the view for a person; `now` turns moments into ages."""
    parts: list[Text | Table] = []
    if view.note:
        parts.append(Text(view.note, style="yellow"))
    workers = "" if view.workers_total is None else f"   workers {view.workers_ready} of {view.workers_total} ready"
    away = "   control away" if view.control_reachable is False else ""
    system, registry = _coloured(view.health), _coloured(view.registry.state)
    parts.append(
        Text.assemble("system ", system, "   registry ", registry, f"   generation {view.generation}{workers}{away}")
    )
    parts += [Text(reason) for reason in dict.fromkeys((view.reason, view.registry.reason)) if reason]
    parts.append(_live_table(view, now))
    if view.snapshots:
        parts.append(_snapshot_table(view, now))
    if view.refused:
        parts.append(_refused_table(view, now))
    for hold in view.holds:
        what = f"{hold.model} held at version {hold.version}" if hold.model else "everything frozen"
        why = f": {hold.reason}" if hold.reason else ""
        parts.append(Text(f"break-glass: {what} until {hold.until:%Y-%m-%d %H:%M} UTC{why}", style="yellow"))
    if view.processes:
        parts.append(_process_table(view))
    return Group(*parts)


def age(moment: datetime | None, now: datetime) -> str:
    """How long ago, in one unit.

    >>> age(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 5, 30, tzinfo=UTC))
    '5 h'
    """
    if moment is None:
        return "unknown"
    seconds = max(0, int((now - moment).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _live_table(view: SystemView, now: datetime) -> Table:
    table = Table("model", "version", "role", "share", "since", "digest", title="live", title_justify="left")
    for row in view.answering:
        since = f"{row.since:%Y-%m-%d %H:%M:%S} ({age(row.since, now)})" if row.since else "unknown"
        share = f"{row.share:.2%}" if row.share or row.role != "challenger" else "shadow"
        table.add_row(row.model, str(row.version), row.role, share, since, row.digest[:12])
    if not view.answering:
        table.add_row("none", "", "", "", "", "")
    return table


def _snapshot_table(view: SystemView, now: datetime) -> Table:
    table = Table("model", "version", "subjects", "as of", title="features by id", title_justify="left")
    for row in view.snapshots:
        is_stale = (now - row.data_time).total_seconds() >= row.stale_after_seconds
        old = f"{row.data_time:%Y-%m-%d %H:%M} ({age(row.data_time, now)}{', stale' if is_stale else ''})"
        table.add_row(row.model, str(row.version), f"{row.subjects:,}", Text(old, style="yellow" if is_stale else ""))
    return table


def _refused_table(view: SystemView, now: datetime) -> Table:
    table = Table("model", "version", "state", "reason", "since", title="not serving", title_justify="left")
    for row in view.refused:
        table.add_row(row.model, str(row.version), row.state, Text(row.reason), age(row.since, now))
    return table


def _process_table(view: SystemView) -> Table:
    table = Table("slot", "process", "pid", "state", "last heartbeat", title="processes", title_justify="left")
    for row in view.processes:
        table.add_row(str(row.slot), row.role, str(row.pid), row.state, f"{row.silent_seconds:.1f} s ago")
    return table


def _coloured(word: str) -> Text:
    return Text(word, style=_COLOURS.get(word, "dim"))


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return render_time(value)
    return str(value)


def _credentials(settings: Settings) -> grpc.ChannelCredentials | None:
    """The server's own certificate proves this command to the server, where both descend from the same authority."""
    if settings.tls_certificate_file is None or settings.tls_key_file is None or settings.tls_client_ca_file is None:
        return None
    import grpc  # `serve` shares this program and must not load it

    def read(path: Path) -> bytes:
        return path.read_bytes()

    return grpc.ssl_channel_credentials(
        read(settings.tls_client_ca_file), read(settings.tls_key_file), read(settings.tls_certificate_file)
    )
