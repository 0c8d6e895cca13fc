"""`doctor`: is this machine fit to serve? Each check is a function of the settings that returns one finding.

Exit code 0: nothing failed; 1: something did. It changes nothing.
Not here: what is being served (status.py).
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from methods.manifest import MANIFEST_NAME, ManifestError, digest_of, parse_manifest
from server.desired import DESIRED_NAME, DesiredError, read_desired
from server.preflight import StartRefused, check_bind, free_address, lock_holder
from server.settings import Settings

MIN_FREE_BYTES = 1024**3  # a cache of 20 models and a day of ledger take less
_LIBRARIES = ("grpcio", "protobuf", "protovalidate", "numpy", "onnxruntime")
_SQLITE_PREFIX = "sqlite:///"


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    LOOK = "look"  # it serves, but somebody should look
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found, and what to do when it is not ok."""

    check: str
    verdict: Verdict
    detail: str


def doctor(settings: Settings, console: Console, *, as_json: bool) -> int:
    """Run every check and print the findings; returns the exit code."""
    findings = [finding for check in CHECKS for finding in check(settings)]
    if as_json:
        console.file.write(json.dumps([asdict(finding) for finding in findings], indent=1) + "\n")
    else:
        colours = {Verdict.OK: "green", Verdict.LOOK: "yellow", Verdict.FAIL: "red"}
        table = Table("check", "", "finding")
        for finding in findings:
            table.add_row(
                finding.check, Text(finding.verdict.value, style=colours[finding.verdict]), Text(finding.detail)
            )
        console.print(table)
    return 1 if any(finding.verdict is Verdict.FAIL for finding in findings) else 0


def check_python(_settings: Settings) -> Iterator[Finding]:
    """Python 3.11 or newer."""
    fit = sys.version_info >= (3, 11)
    yield Finding(check="python", verdict=_verdict(fit), detail=f"{sys.version.split()[0]}; 3.11 or newer is needed")


def check_libraries(_settings: Settings) -> Iterator[Finding]:
    """What a worker imports is installed, and protobuf runs in C."""
    from google.protobuf.internal import api_implementation  # `serve` shares this program and needs no protobuf

    for name in _LIBRARIES:
        try:
            yield Finding(check=name, verdict=Verdict.OK, detail=importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(check=name, verdict=Verdict.FAIL, detail="not installed; run make")
    engine = api_implementation.Type()
    yield Finding(check="protobuf engine", verdict=_verdict(engine == "upb"), detail=f"{engine}; upb is needed")
    try:
        yield Finding(check="mlflow", verdict=Verdict.OK, detail=importlib.metadata.version("mlflow"))
    except importlib.metadata.PackageNotFoundError:
        yield Finding(check="mlflow", verdict=Verdict.LOOK, detail="not installed: the server cannot follow a registry")


def check_addresses(settings: Settings) -> Iterator[Finding]:
    """The ports are free, or held by the server of this state folder; open ones have TLS."""
    try:
        check_bind(settings)
    except StartRefused as refused:
        yield Finding(check="bind", verdict=Verdict.FAIL, detail=str(refused))
    holder = lock_holder(settings.state_dir)
    if holder is not None:
        yield Finding(check="port", verdict=Verdict.OK, detail=f"the server runs as process {holder}")
        return
    addresses = {"PAEDSRESUS_LISTEN": settings.listen, "PAEDSRESUS_METRICS_LISTEN": settings.metrics_listen}
    for variable, address in addresses.items():
        try:
            free_address(address, variable)
            yield Finding(check="port", verdict=Verdict.OK, detail=f"{address} is free")
        except StartRefused as refused:
            yield Finding(check="port", verdict=Verdict.FAIL, detail=str(refused))


def check_registry(settings: Settings) -> Iterator[Finding]:
    """A registry in a local file is there and is a registry; one by HTTP is not asked here."""
    uri = settings.registry_uri
    if not uri.startswith(_SQLITE_PREFIX):
        yield Finding(check="registry", verdict=Verdict.OK, detail=f"{uri} (not asked)")
        return
    path = Path(uri.removeprefix(_SQLITE_PREFIX))
    if not path.exists():
        yield Finding(
            check="registry", verdict=Verdict.LOOK, detail=f"{path} does not exist; train: python -m training fit churn"
        )
        return
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2) as database:
            (models,) = database.execute("select count(*) from registered_models").fetchone()
        database.close()
        yield Finding(check="registry", verdict=Verdict.OK, detail=f"{path}: {models} registered models")
    except sqlite3.Error as failure:
        yield Finding(check="registry", verdict=Verdict.FAIL, detail=f"{path} cannot be read: {failure}")


def check_state(settings: Settings) -> Iterator[Finding]:
    """The desired state can be read, and every cached artifact is byte for byte what its digest says."""
    try:
        desired = read_desired(settings.state_dir / DESIRED_NAME)
    except (DesiredError, OSError) as broken:
        yield Finding(check="desired state", verdict=Verdict.FAIL, detail=str(broken))
    else:
        told = f"generation {desired.generation}, {len(desired.load)} versions" if desired else "none yet"
        yield Finding(check="desired state", verdict=Verdict.OK, detail=told)
    cache = settings.state_dir / "cache"
    folders = sorted(path for path in cache.iterdir() if len(path.name) == 64) if cache.is_dir() else []
    damaged = [f"{folder.name[:12]}: {wrong}" for folder in folders if (wrong := _damage(folder))]
    for text in damaged:
        yield Finding(check="cache", verdict=Verdict.FAIL, detail=f"{text}; delete the folder, it is fetched again")
    if not damaged:
        yield Finding(check="cache", verdict=Verdict.OK, detail=f"{len(folders)} artifacts verified")


def check_disk(settings: Settings) -> Iterator[Finding]:
    """Room for cache and ledger."""
    folder = settings.state_dir if settings.state_dir.is_dir() else Path()
    free = shutil.disk_usage(folder).free
    enough = Verdict.OK if free >= MIN_FREE_BYTES else Verdict.LOOK
    yield Finding(check="disk", verdict=enough, detail=f"{free / 1024**3:.1f} GiB free; 1 GiB or more is good")


CHECKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    check_python,
    check_libraries,
    check_addresses,
    check_registry,
    check_state,
    check_disk,
)


def _damage(folder: Path) -> str:
    """Say what is wrong with a cached artifact; "" when nothing is."""
    try:
        content = (folder / MANIFEST_NAME).read_bytes()
        if digest_of(content) != folder.name:
            return f"{MANIFEST_NAME} is not the one of this digest"
        files = parse_manifest(content).files
        changed = [name for name, digest in files.items() if digest_of((folder / name).read_bytes()) != digest]
    except (OSError, ManifestError) as failure:
        return str(failure)
    return f"{changed[0]} was changed" if changed else ""


def _verdict(fit: bool) -> Verdict:  # noqa: FBT001 - the question is its only argument
    return Verdict.OK if fit else Verdict.FAIL
