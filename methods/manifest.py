"""What an artifact says of itself: the manifest, its digest, and which file names it may hold.

An artifact is a folder of data, never code. `manifest.json` lists the sha256 of every other file; the sha256 of the
manifest's own bytes is the version's digest, stands in the version's tag `manifest.sha256`, and names the local cache.

Pure: bytes in, values out. Every refusal says what is wrong, where, and what would do.
Not here: reading files and comparing their sums (server/control/artifacts.py); what the fields of a model mean
(methods/features.py); writing the folder (training/artifact.py).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

__all__ = [
    "ARTIFACT_FORMAT",
    "DIGEST_TAG",
    "MANIFEST_NAME",
    "Manifest",
    "ManifestError",
    "NewerFormatError",
    "check_names",
    "digest_of",
    "manifest_bytes",
    "parse_manifest",
]

ARTIFACT_FORMAT = 1
"""Format that this release writes, and the newest it reads. Raise it when an old server could misread a new folder."""

MANIFEST_NAME = "manifest.json"
DIGEST_TAG = "manifest.sha256"
"""Tag of a registered version that holds the digest of its manifest."""

MANIFEST_BYTES_MAX = 1_000_000  # 60 files and 100 features take 20 kB; more than this is not a manifest
FILES_MAX = 64
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MODEL = re.compile(r"[a-z][a-z0-9_.-]{0,99}")
_CURRENCY = re.compile(r"[A-Z]{3}")
_DATA_VERSION = re.compile(r"[!-~]{1,128}")  # it stands in every answer of the version
_NAME_DEPTH_MAX = 3
# Written by MLflow beside the artifact; an artifact of its own with such a name could not be told from MLflow's.
_RESERVED = frozenset(
    {
        MANIFEST_NAME.lower(),
        "mlmodel",
        "registered_model_meta",
        "input_example.json",
        "serving_input_example.json",
    }
)


class ManifestError(ValueError):
    """The manifest breaks a rule of its format; the text names field and rule."""


class NewerFormatError(ManifestError):
    """The artifact was written for a later release: upgrade the server first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What stands in `manifest.json`.

    Attributes:
        model: name of the registered model, e.g. "churn".
        features: the feature schema as JSON (`methods.features.FeatureSchema`), a subset of the request's fields.
        expressions: digest of the expressions that computed those features in training, sha256 in hexadecimal.
        feature_set: digest of that schema and those expressions (`FeatureSchema.feature_set`).
        currency: ISO 4217 code of every money feature; None when there is none.
        data_version: digest of the data that the version was fitted on; 1 to 128 visible ASCII characters.
        data_time: newest moment in that data, UTC.
        observations: rows that it was fitted on.
        created_at: when the folder was written, UTC.
        files: sha256 in hexadecimal by name, of every file but the manifest.
        artifact_format: see ARTIFACT_FORMAT.
    """

    model: str
    features: Mapping[str, object]
    expressions: str
    feature_set: str
    currency: str | None
    data_version: str
    data_time: datetime
    observations: int
    created_at: datetime
    files: Mapping[str, str]
    artifact_format: int = ARTIFACT_FORMAT


def digest_of(content: bytes) -> str:
    """Sha256 in hexadecimal, of a manifest or of any other file.

    >>> digest_of(b"")[:8]
    'e3b0c442'
    """
    return hashlib.sha256(content).hexdigest()


def manifest_bytes(manifest: Manifest) -> bytes:
    """Canonical JSON of a manifest: sorted keys, no spaces, UTF-8. Equal manifests give equal bytes.

    Raises: ManifestError: when the manifest breaks a rule that parse_manifest would refuse.
    """
    check_names(manifest.files)
    document = {
        "artifact_format": manifest.artifact_format,
        "model": manifest.model,
        "features": dict(manifest.features),
        "expressions": manifest.expressions,
        "feature_set": manifest.feature_set,
        "currency": manifest.currency,
        "data_version": manifest.data_version,
        "data_time": _render_time(manifest.data_time),
        "observations": manifest.observations,
        "created_at": _render_time(manifest.created_at),
        "files": dict(manifest.files),
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    content = text.encode("utf-8")
    parse_manifest(content)
    return content


def parse_manifest(content: bytes) -> Manifest:
    """Read a manifest and check every rule that needs nothing but its bytes.

    Raises:
        NewerFormatError: it was written for a later release; said before any other rule is looked at.
        ManifestError: anything else.
    """
    document = _read_object(content)
    artifact_format = _integer(document, "artifact_format", at_least=1)
    if artifact_format > ARTIFACT_FORMAT:
        raise NewerFormatError(
            f"artifact_format is {artifact_format} and this server reads up to {ARTIFACT_FORMAT}; "
            "upgrade the server first"
        )
    files = _text_map(document, "files")
    check_names(files)
    for name, checksum in files.items():
        if not _SHA256.fullmatch(checksum):
            raise ManifestError(f"files[{name!r}] is not a sha256 in lower-case hexadecimal")
    currency = document.get("currency")
    if currency is not None and not (isinstance(currency, str) and _CURRENCY.fullmatch(currency)):
        raise ManifestError("currency must be an ISO 4217 code such as USD, or null")
    return Manifest(
        artifact_format=artifact_format,
        model=_text(document, "model", _MODEL),
        features=_object(document, "features"),
        expressions=_text(document, "expressions", _SHA256),
        feature_set=_text(document, "feature_set", _SHA256),
        currency=currency,
        data_version=_text(document, "data_version", _DATA_VERSION),
        data_time=_time(document, "data_time"),
        observations=_integer(document, "observations", at_least=0),
        created_at=_time(document, "created_at"),
        files=files,
    )


def check_names(names: Iterable[str]) -> None:
    """Refuse names that could leave the folder, hide, clash on another disk, or shadow a file of MLflow.

    A name is one to three parts joined by "/", each of letters, digits, ".", "_" and "-", beginning with a letter or
    a digit. So there is no absolute path, no "..", no hidden file and no back slash.

    Raises: ManifestError: names the first name that breaks a rule.

    >>> check_names(["model.onnx", "plots/roc.png"])
    >>> check_names(["../model.onnx"])
    Traceback (most recent call last):
    methods.manifest.ManifestError: file name '../model.onnx' could leave the artifact's folder
    """
    listed = list(names)
    if len(listed) > FILES_MAX:
        raise ManifestError(f"{len(listed)} files are listed; at most {FILES_MAX} are allowed")
    folded = {name.lower() for name in listed}
    if len(folded) != len(listed):
        raise ManifestError("two file names differ in case only, or are equal")
    for name in listed:
        parts = name.split("/")
        if name.startswith(("/", "\\")) or ".." in parts or "\\" in name or ":" in name:
            raise ManifestError(f"file name {name!r} could leave the artifact's folder")
        if len(parts) > _NAME_DEPTH_MAX or not all(_NAME_PART.fullmatch(part) for part in parts):
            raise ManifestError(f"file name {name!r} is not plain: letters, digits, '.', '_' and '-' in three parts")
        if name.lower() in _RESERVED:
            raise ManifestError(f"file name {name!r} is reserved")
    # A name that is also the folder of another cannot be written.
    if clash := sorted(name for name in folded if any(other.startswith(f"{name}/") for other in folded)):
        raise ManifestError(f"file name {clash[0]!r} is also a folder of another file")


def _read_object(content: bytes) -> dict[str, object]:
    if len(content) > MANIFEST_BYTES_MAX:
        raise ManifestError(f"{MANIFEST_NAME} has {len(content)} bytes; at most {MANIFEST_BYTES_MAX} are allowed")
    try:
        document = json.loads(content.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
        json.dumps(document, ensure_ascii=False).encode("utf-8")  # half a surrogate pair is no text anywhere else
    except ManifestError:
        raise
    except (ValueError, RecursionError) as cause:  # also a number of more digits than Python reads
        raise ManifestError(f"{MANIFEST_NAME} is not JSON in UTF-8") from cause
    if not isinstance(document, dict):
        raise ManifestError(f"{MANIFEST_NAME} is not a JSON object")
    return document


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    # Two parsers may pick different ones of two equal keys; what is checked must be what is read.
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ManifestError(f"{MANIFEST_NAME} names a key twice")
    return document


def _no_constant(word: str) -> object:
    raise ManifestError(f"{MANIFEST_NAME} holds {word}, which is not JSON")


def _text(document: Mapping[str, object], field: str, pattern: re.Pattern[str] | None = None) -> str:
    value = document.get(field)
    if not isinstance(value, str) or not value:
        raise ManifestError(f"{field} must be a text that is not empty")
    if pattern is not None and not pattern.fullmatch(value):
        raise ManifestError(f"{field} {value[:80]!r} does not match {pattern.pattern}")
    return value


def _integer(document: Mapping[str, object], field: str, *, at_least: int) -> int:
    value = document.get(field)
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise ManifestError(f"{field} must be a whole number, at least {at_least}")
    return value


def _object(document: Mapping[str, object], field: str) -> dict[str, object]:
    value = document.get(field)
    if not isinstance(value, dict):
        raise ManifestError(f"{field} must be a JSON object")
    return value


def _text_map(document: Mapping[str, object], field: str) -> dict[str, str]:
    value = _object(document, field)
    texts = {key: item for key, item in value.items() if isinstance(item, str)}
    if len(texts) != len(value):
        raise ManifestError(f"{field} must map names to texts")
    return texts


def _time(document: Mapping[str, object], field: str) -> datetime:
    text = _text(document, field)
    try:
        moment = datetime.fromisoformat(text)
        in_utc = moment.astimezone(UTC)
    except (ValueError, OverflowError) as cause:  # the first and the last day of the calendar have no UTC everywhere
        raise ManifestError(f"{field} {text[:80]!r} is not a time such as 2026-01-31T09:00:00Z") from cause
    if moment.tzinfo is None:
        raise ManifestError(f"{field} {text[:80]!r} has no time zone; write it in UTC, ending in Z")
    return in_utc


def _render_time(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ManifestError("times in a manifest must be aware of their zone")
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
