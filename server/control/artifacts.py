"""From a registered version to a verified folder in the local cache, or to the reason why not.

What comes from a registry is copied into a fresh folder of our own (0700) first, and judged there: nobody else can
change it between the check and the use. Checked, in this order: what kinds of files there are, the manifest against
the version's tag, names, every file's sha256, whose model it is, its features against the request's, and then a trial
run in a child process (probe.py). What passes is made read-only and published by one rename to `cache/<digest>`.

Each failure is a value, `Refusal`, with a code and a sentence that a person can act on.
Not here: which versions to fetch (rollout.py); how bytes come from MLflow (registry.py).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from methods.features import FeatureSchema
from methods.manifest import (
    DIGEST_TAG,
    MANIFEST_BYTES_MAX,
    MANIFEST_NAME,
    Manifest,
    ManifestError,
    NewerFormatError,
    digest_of,
    parse_manifest,
)
from methods.snapshot import DESCRIPTION_NAME, module_of

REQUIRED_FILES = ("parameters.json", "golden.json")
GRAPH_FILE = "model.onnx"  # needed too where requests offer fields; a version that reads them as a whole has none
FILES_MAX = 80  # MLflow's own files included; the manifest allows 64
FOLDER_BYTES_MAX = 1 << 30  # the largest model planned has 60 MB; a disk must not be filled by one version
SNAPSHOT_BYTES_MAX = 8 << 30  # a snapshot grows with the platform: 1 GB is 250,000 learners, or 5 million subscribers
_CHUNK_BYTES = 1 << 20
_TEXT_MAX = 1_000  # characters of a refusal: it becomes a tag, and may quote a name of any length
_DIGEST = re.compile(r"[0-9a-f]{64}")
# Written by MLflow beside the artifact, each with its fixed name at the top; never copied, never read.
_MLFLOW_FILES = frozenset(
    {
        "MLmodel",
        "registered_model_meta",
        "input_example.json",
        "serving_input_example.json",
    }
)


class RefusalCode(StrEnum):
    """Why a version is not served."""

    NO_DIGEST = "no_digest"
    EMPTY = "empty"
    NOT_A_FILE = "not_a_file"
    TOO_LARGE = "too_large"
    MISSING_FILE = "missing_file"
    EXTRA_FILE = "extra_file"
    MANIFEST_CHANGED = "manifest_changed"
    MANIFEST_INVALID = "manifest_invalid"
    NEWER_FORMAT = "newer_format"
    FILE_CHANGED = "file_changed"
    OTHER_MODEL = "other_model"
    WRONG_FIELD = "wrong_field"
    GRAPH = "graph"
    PARAMETERS = "parameters"
    SNAPSHOT = "snapshot"
    GOLDEN = "golden"
    TREES = "trees"
    PROBE_CRASHED = "probe_crashed"
    PROBE_TIMEOUT = "probe_timeout"
    TRAFFIC = "traffic"
    LOAD_FAILED = "load_failed"
    UNFORESEEN = "unforeseen"


_MISFITS = frozenset({RefusalCode.OTHER_MODEL, RefusalCode.WRONG_FIELD})
"""What says nothing against the artifact: it is whole, and somebody else may be using it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a version is not served, for programs and in words.

    `text` is ours and may reach callers; `detail` is what a library said and goes to the log alone.
    """

    code: RefusalCode
    text: str
    detail: str = field(default="", compare=False)


class FetchError(Exception):
    """The registry could not hand over the files just now; nothing is known against the version. Try again later."""


class FetchTooLargeError(FetchError):
    """The version has more or larger files than a version may have; it is refused, not fetched again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One registered version to verify. `digest` is its tag, None when it has none; `schema` is what requests offer."""

    model: str
    version: int
    digest: str | None
    schema: FeatureSchema


Fetch = Callable[[Path], None]
"""Fills an empty folder with the version's files. Raises FetchError."""

Probe = Callable[[Path], Refusal | None]
"""Tries a folder in a child process."""


class Cache:
    """The verified artifacts of this machine, each in a folder named by its digest."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self) -> None:
        """Make the folder (0700) and remove what an earlier process left half done."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        for leftover in self._folder.glob(".staging-*"):
            _remove(leftover)

    def path(self, digest: str) -> Path:
        """Where the artifact with that digest stands, or would."""
        return self._folder / digest

    def publish(self, wanted: Wanted, fetch: Fetch, probe: Probe) -> Refusal | None:
        """Fetch, verify, probe and publish one version; the reason when any of it fails.

        A folder that is already published is verified again instead of fetched, and replaced when it has rotted.
        Raises: FetchError: the files could not be had just now.
        """
        if wanted.digest is None or not _DIGEST.fullmatch(wanted.digest):  # it becomes a folder's name
            wrong = "is no sha256 in lower-case hexadecimal" if wanted.digest else "is missing"
            text = f"the version's tag {DIGEST_TAG} {wrong}; register it with `python -m training`, not by hand"
            return _refuse(RefusalCode.NO_DIGEST, text)
        published = self.path(wanted.digest)
        if published.is_dir():
            refusal = verify_folder(published, wanted)
            if refusal is None:
                return probe(published)
            if refusal.code in _MISFITS:
                return refusal
            _remove(published)
        staging = Path(tempfile.mkdtemp(prefix=".staging-", dir=self._folder))
        try:
            try:
                fetch(staging)
            except FetchTooLargeError as failure:
                return _refuse(RefusalCode.TOO_LARGE, str(failure))
            if refusal := verify_folder(staging, wanted) or probe(staging):
                return refusal
            _seal(staging)
            staging.rename(published)
            published.chmod(0o500)
        finally:
            _remove(staging)
        return None

    def holds(self, wanted: Wanted) -> bool:
        """Whether the version is published and still as it was; reads every byte."""
        return wanted.digest is not None and verify_folder(self.path(wanted.digest), wanted) is None

    def prune(self, keep: frozenset[str]) -> frozenset[str]:
        """Remove every artifact but these; the digests that went. What is no artifact stays: it is not ours."""
        artifacts = (path for path in self._folder.iterdir() if path.is_dir() and not path.is_symlink())
        gone = frozenset(path.name for path in artifacts if _DIGEST.fullmatch(path.name)) - keep
        for digest in gone:
            _remove(self.path(digest))
        return gone


def bytes_max(model: str) -> int:
    """How much a version of a model may hold."""
    return FOLDER_BYTES_MAX if module_of(model) is None else SNAPSHOT_BYTES_MAX


def check_size(files: int, total: int, most: int) -> None:
    """Refuse what is too large, as soon as that is known.

    Raises: FetchTooLargeError: more files than a version may have, or more than `most` bytes.
    """
    if files > FILES_MAX or total > most:
        raise FetchTooLargeError(f"more than {FILES_MAX} files or {most} bytes; a version must stay below both")


def copy_folder(source: Path, target: Path, most: int = FOLDER_BYTES_MAX) -> None:
    """Copy a folder's files without following a link; links stay links, so that the check sees them.

    Raises: FetchError: the folder is not there. FetchTooLargeError: it holds more than a version may.
    """
    if not source.is_dir():
        raise FetchError("the version's folder is not there; if the registry was moved, make serve repairs its paths")
    total = 0
    for count, entry in enumerate(_walk(source), start=1):
        name = entry.relative_to(source)
        total += entry.lstat().st_size
        check_size(count, total, most)
        copy = target / name
        copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = entry.lstat().st_mode
        if stat.S_ISREG(mode):
            shutil.copyfile(entry, copy, follow_symlinks=False)
        else:
            copy.symlink_to("not-a-regular-file")


def verify_folder(folder: Path, wanted: Wanted) -> Refusal | None:
    """Check a folder of our own against the version's tag and the request's features; the first failure found."""
    present = _list_files(folder, bytes_max(wanted.model))
    if isinstance(present, Refusal):
        return present
    if not present:
        return _refuse(RefusalCode.EMPTY, "the download is empty: the version's files were moved or deleted")
    manifest = _read_manifest(folder, present, wanted)
    if isinstance(manifest, Refusal):
        return manifest
    return (
        _check_files(folder, present, manifest, wanted.schema)
        or _check_model(manifest, wanted)
        or check_features(manifest, wanted.schema)
    )


def check_features(manifest: Manifest, offered: FeatureSchema) -> Refusal | None:
    """Refuse features that the request does not have, or has with another kind, unit or levels.

    Levels must be the request's first ones in the same order: a row is encoded by the enum's numbers, and a level
    that the contract gained later must not change what the old numbers mean.
    """
    try:
        schema = FeatureSchema.from_json(manifest.features)
    except ValueError as wrong:
        return _refuse(RefusalCode.WRONG_FIELD, f"features of {MANIFEST_NAME} cannot be read: {wrong}")
    if schema.feature_set(manifest.expressions) != manifest.feature_set:
        text = "feature_set is not the digest of features and expressions; export the version again"
        return _refuse(RefusalCode.WRONG_FIELD, text)
    known = {feature.name: feature for feature in offered.features}
    for feature in schema.features:
        request = known.get(feature.name)
        if request is None:
            text = (
                f"feature {feature.name!r} is not a field of {offered.message}; fit without it or extend the contract"
            )
        elif feature.kind is not request.kind:
            text = f"feature {feature.name!r} is a {feature.kind.value}; the request has a {request.kind.value}"
        elif feature.unit != request.unit:
            text = f"feature {feature.name!r} is in {feature.unit!r}; the request is in {request.unit!r}"
        elif feature.levels != request.levels[: len(feature.levels)]:
            text = f"feature {feature.name!r} has levels {feature.levels}; the request has {request.levels}"
        elif feature.kind.name == "MONEY" and manifest.currency is None:
            text = f"feature {feature.name!r} is money and the manifest names no currency"
        else:
            continue
        return _refuse(RefusalCode.WRONG_FIELD, text)
    return None


def _refuse(code: RefusalCode, text: str) -> Refusal:
    return Refusal(code=code, text=text[:_TEXT_MAX])


def _walk(folder: Path) -> Iterator[Path]:
    """Everything in a folder that is no folder, links to folders included, MLflow's own files left out."""
    for root, folders, files in os.walk(folder, followlinks=False):
        here = Path(root)
        for name in sorted([*files, *(name for name in folders if (here / name).is_symlink())]):
            if not (here == folder and name in _MLFLOW_FILES):
                yield here / name


def _list_files(folder: Path, most: int) -> set[str] | Refusal:
    names: set[str] = set()
    total = 0
    for path in _walk(folder):
        status = path.lstat()
        name = path.relative_to(folder).as_posix()
        if not stat.S_ISREG(status.st_mode):
            return _refuse(
                RefusalCode.NOT_A_FILE, f"{name!r} is a link or a special file; only plain files are allowed"
            )
        total += status.st_size
        names.add(name)
        try:
            check_size(len(names), total, most)
        except FetchTooLargeError as failure:
            return _refuse(RefusalCode.TOO_LARGE, str(failure))
    return names


def _read_manifest(folder: Path, present: set[str], wanted: Wanted) -> Manifest | Refusal:
    if MANIFEST_NAME not in present:
        return _refuse(RefusalCode.MISSING_FILE, f"{MANIFEST_NAME} is missing; export the version again")
    with (folder / MANIFEST_NAME).open("rb") as file:
        content = file.read(MANIFEST_BYTES_MAX + 1)
    if (found := digest_of(content)) != wanted.digest:
        return _refuse(
            RefusalCode.MANIFEST_CHANGED,
            f"{MANIFEST_NAME} has sha256 {found[:12]}… and the version's tag {DIGEST_TAG} says "
            f"{(wanted.digest or '')[:12]}…; the files were changed after registration",
        )
    try:
        return parse_manifest(content)
    except NewerFormatError as newer:
        return _refuse(RefusalCode.NEWER_FORMAT, str(newer))
    except ManifestError as wrong:
        return _refuse(RefusalCode.MANIFEST_INVALID, str(wrong))


def _check_files(folder: Path, present: set[str], manifest: Manifest, offered: FeatureSchema) -> Refusal | None:
    if module_of(manifest.model) is not None:
        required: tuple[str, ...] = (DESCRIPTION_NAME,)  # the rest hangs on its tables; the trial run reads it
    else:
        required = (GRAPH_FILE, *REQUIRED_FILES) if offered.features else REQUIRED_FILES
    for name in (*required, *sorted(manifest.files)):
        if name not in manifest.files or name not in present:
            where = "download" if name in manifest.files else MANIFEST_NAME
            return _refuse(RefusalCode.MISSING_FILE, f"{name} is missing in the {where}; export the version again")
    if extra := sorted(present - manifest.files.keys() - {MANIFEST_NAME}):
        return _refuse(
            RefusalCode.EXTRA_FILE, f"{extra[0]!r} is not in {MANIFEST_NAME}; only listed files may be there"
        )
    for name, expected in sorted(manifest.files.items()):
        found = _checksum(folder / name)
        if found != expected:
            size = (folder / name).stat().st_size
            return _refuse(
                RefusalCode.FILE_CHANGED,
                f"{name} ({size} bytes) has sha256 {found[:12]}… and {MANIFEST_NAME} says {expected[:12]}…; "
                "it is damaged or was changed after the export",
            )
    return None


def _check_model(manifest: Manifest, wanted: Wanted) -> Refusal | None:
    if manifest.model != wanted.model:
        return _refuse(RefusalCode.OTHER_MODEL, f"the artifact is of model {manifest.model!r}, not {wanted.model!r}")
    return None


def _checksum(path: Path) -> str:
    total = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            total.update(chunk)
    return total.hexdigest()


def _seal(folder: Path) -> None:
    """Read-only for everybody, and on the disk before it gets its name."""
    for root, folders, files in os.walk(folder):
        for name in files:
            descriptor = os.open(Path(root) / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.fchmod(descriptor, 0o400)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        for name in folders:
            (Path(root) / name).chmod(0o500)
    # The folder itself keeps w until it is renamed: a folder without it cannot be moved by its owner on every system.


def _remove(folder: Path) -> None:
    if not folder.exists():
        return
    for root, folders, _ in os.walk(folder):
        for name in folders:
            if not (Path(root) / name).is_symlink():
                (Path(root) / name).chmod(0o700)
    folder.chmod(0o700)
    shutil.rmtree(folder)
