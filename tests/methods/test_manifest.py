"""The manifest: what it refuses, and that it comes back as it was written."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methods.manifest import (
    FILES_MAX,
    Manifest,
    ManifestError,
    NewerFormatError,
    check_names,
    digest_of,
    manifest_bytes,
    parse_manifest,
)

SUM = "a" * 64
NAMES = st.from_regex(r"[A-Za-z0-9][a-z0-9_]{0,10}\.(onnx|json|bin)", fullmatch=True)


def manifest(**changes: Any) -> Manifest:
    facts: dict[str, Any] = {
        "model": "churn",
        "features": {"message": "m", "features": []},
        "expressions": SUM,
        "feature_set": SUM,
        "currency": "USD",
        "data_version": "d1",
        "data_time": datetime(2026, 1, 1, tzinfo=UTC),
        "observations": 3,
        "created_at": datetime(2026, 1, 2, tzinfo=UTC),
        "files": {"model.onnx": SUM},
    }
    return Manifest(**{**facts, **changes})


def changed(**changes: Any) -> bytes:
    return json.dumps({**json.loads(manifest_bytes(manifest())), **changes}).encode()


@given(
    files=st.dictionaries(NAMES, st.from_regex(r"[0-9a-f]{64}", fullmatch=True), max_size=8).filter(
        lambda files: len({name.lower() for name in files}) == len(files)
    ),
    observations=st.integers(min_value=0, max_value=2**40),
    data_time=st.datetimes(timezones=st.just(UTC)),
    currency=st.one_of(st.none(), st.from_regex(r"[A-Z]{3}", fullmatch=True)),
)
def test_a_manifest_comes_back_as_it_was_written(
    files: dict[str, str], observations: int, data_time: datetime, currency: str | None
) -> None:
    written = manifest(files=files, observations=observations, data_time=data_time, currency=currency)

    content = manifest_bytes(written)

    assert parse_manifest(content) == written
    assert manifest_bytes(parse_manifest(content)) == content


def test_equal_manifests_have_one_digest_whatever_the_order_of_their_files() -> None:
    one = manifest_bytes(manifest(files={"a.json": SUM, "b.json": SUM}))
    other = manifest_bytes(manifest(files={"b.json": SUM, "a.json": SUM}))

    assert digest_of(one) == digest_of(other)


def test_another_zone_of_the_same_moment_is_written_in_utc() -> None:
    eastern = datetime(2026, 1, 1, 3, tzinfo=UTC).astimezone(tz=None)

    parsed = parse_manifest(manifest_bytes(manifest(data_time=eastern)))

    assert parsed.data_time == eastern
    assert parsed.data_time.utcoffset() == timedelta(0)


def test_a_newer_format_is_named_before_anything_else_is_looked_at() -> None:
    with pytest.raises(NewerFormatError, match="upgrade the server first"):
        parse_manifest(b'{"artifact_format": 2, "model": 7}')


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"\xff", "not JSON", id="not UTF-8"),
        pytest.param(b"[" * 100_000, "not JSON", id="deep nesting"),
        pytest.param(b"[]", "not a JSON object", id="a list"),
        pytest.param(b'{"a": NaN}', "not JSON", id="NaN"),
        pytest.param(b'{"artifact_format": 1, "artifact_format": 2}', "names a key twice", id="a key twice"),
        pytest.param(b"{}", "artifact_format", id="no format"),
        pytest.param(changed(artifact_format=True), "artifact_format", id="a flag for a number"),
        pytest.param(changed(model="../x"), "model", id="model that is a path"),
        pytest.param(changed(feature_set="xyz"), "feature_set", id="digest that is none"),
        pytest.param(changed(currency="usd"), "currency", id="currency"),
        pytest.param(changed(data_time="yesterday"), "data_time", id="time"),
        pytest.param(changed(data_time="2026-01-01T00:00:00"), "no time zone", id="time without a zone"),
        pytest.param(changed(observations=-1), "observations", id="negative count"),
        pytest.param(changed(features=[]), "features", id="features that are a list"),
        pytest.param(changed(files={"model.onnx": 7}), "files", id="sum that is a number"),
        pytest.param(changed(files={"model.onnx": "AB"}), "sha256", id="sum that is none"),
        pytest.param(b" " * 2_000_000, "bytes", id="too large"),
        pytest.param(b'{"observations": ' + b"9" * 5_000 + b"}", "not JSON", id="number of 5,000 digits"),
        pytest.param(changed(data_time="0001-01-01T00:00:00+23:59"), "data_time", id="time before time"),
        pytest.param(changed(created_at="9999-12-31T23:59:59-23:59"), "created_at", id="time after time"),
        pytest.param(changed(data_version="\ud800"), "not JSON in UTF-8", id="half a surrogate pair"),
        pytest.param(changed(features={"a": [{"\udfff": 1}]}), "not JSON in UTF-8", id="half a pair, deep inside"),
        pytest.param(changed(data_version="x" * 129), "data_version", id="data version that fills every answer"),
        pytest.param(changed(data_version="a\nb"), "data_version", id="data version with a control character"),
    ],
)
def test_what_breaks_a_rule_is_refused_by_name(content: bytes, said: str) -> None:
    with pytest.raises(ManifestError, match=said):
        parse_manifest(content)


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../model.onnx",
        "a/../../b",
        "a\\b",
        "C:x",
        ".hidden",
        "",
        "a//b",
        "a/",
        "a/b/c/d",
        "x" * 200,
        "model\n.onnx",
        "model.onnx\n",
        "módel.onnx",
        "manifest.json",
        "MLmodel",
        "Registered_Model_Meta",
    ],
)
def test_a_hostile_name_is_refused(name: str) -> None:
    with pytest.raises(ManifestError):
        check_names([name])


@pytest.mark.parametrize(
    "names", [["a.json", "A.json"], ["plots", "plots/roc.png"], [f"f{i}" for i in range(FILES_MAX + 1)]]
)
def test_names_that_cannot_stand_together_are_refused(names: list[str]) -> None:
    with pytest.raises(ManifestError):
        check_names(names)


def test_a_manifest_that_would_be_refused_is_never_written() -> None:
    with pytest.raises(ManifestError):
        manifest_bytes(manifest(files={"../x": SUM}))
