"""From an artifact folder to a registered version with its aliases; promote and roll back by hand.

A new version becomes `champion` where there is none, else `challenger`, which is shadow until a person says more. When
the version under `challenger` carries any `traffic.*` tag the new one gets no alias: a retraining never ends a running
canary. A version that failed a gate is registered with the reason and gets no alias either.

Not here: fitting and judging (training/<module>, gates.py); what the server makes of aliases (server/control).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from methods.manifest import DIGEST_TAG, MANIFEST_NAME, digest_of, parse_manifest
from training import flavor
from training.registry import Registry, RegistryError

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
TRAFFIC_PREFIX = "traffic."
STATE_TAG, SHARE_TAG = "serving.state", "serving.share"
_SOURCE_TAGS = {"mlflow.source.name": "python -m training fit", "mlflow.source.type": "LOCAL"}
GATE_TAG, GATE_REASONS_TAG = "gate.verdict", "gate.reasons"
BARRED_STATES = frozenset({"refused", "rolled_back", "suspended", "quarantined"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the gates said of a version; `reasons` are sentences and empty when it passed."""

    passed: bool = True
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What became of a folder: its version, its alias (None for none) and, then, why and which line would set it."""

    model: str
    version: int
    digest: str
    alias: str | None
    reason: str = ""
    next_line: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """What a training run leaves in MLflow beside the version; files by the folder they go to ("" is the top).

    `began` is when it began, aware UTC, None for just now; tags `data.version` and `data.source` become its dataset.
    """

    name: str
    began: datetime | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    files: Sequence[tuple[Path, str]] = ()


def record_run(registry: Registry, record: RunRecord) -> str:
    """Log one finished run; its id."""
    client = registry.client
    began = None if record.began is None else int(record.began.timestamp() * 1_000)
    run = client.create_run(
        registry.experiment_id, start_time=began, run_name=record.name, tags={**_SOURCE_TAGS, **record.tags}
    )
    run_id = str(run.info.run_id)
    if "data.version" in record.tags:
        client.log_inputs(run_id, datasets=[_dataset(record.tags)])
    for key, value in record.params.items():
        client.log_param(run_id, key, value)
    for key, number in record.metrics.items():
        client.log_metric(run_id, key, number)
    for path, place in record.files:
        client.log_artifact(run_id, str(path), place or None)
    client.set_terminated(run_id)
    return run_id


def _dataset(tags: Mapping[str, str]) -> Any:
    """The data of a run as MLflow shows them: where from, and as much of the digest as it keeps."""
    from mlflow.entities import Dataset, DatasetInput

    source = tags.get("data.source", "mart")
    dataset = Dataset(name="mart", digest=tags["data.version"][:36], source_type="mart", source=source)
    return DatasetInput(dataset=dataset)


def register_version(
    registry: Registry,
    folder: Path,
    *,
    run_id: str,
    verdict: Verdict | None = None,
    tags: Mapping[str, str] | None = None,
    description: str = "",
    is_data: bool = False,
) -> Registration:
    """Log the folder as a model, make it a version with its digest as tag, and give it its alias.

    Data (`is_data`, a snapshot of features) is no candidate: newer ones take the place of older ones at once.
    """
    verdict = Verdict() if verdict is None else verdict
    content = (folder / MANIFEST_NAME).read_bytes()
    model, digest = parse_manifest(content).model, digest_of(content)
    model_id = _log_model(registry, folder, model, run_id)
    _ensure_model(registry, model)
    version = registry.client.create_model_version(
        model,
        f"models:/{model_id}",
        run_id=run_id,
        model_id=model_id,
        tags={
            **(tags or {}),
            DIGEST_TAG: digest,
            GATE_TAG: "passed" if verdict.passed else "failed",
            **({} if verdict.passed else {GATE_REASONS_TAG: "; ".join(verdict.reasons)}),
        },
        description=description or None,
    )
    number = int(version.version)
    aliases = {} if is_data else read_aliases(registry, model)
    alias, reason = choose_alias(aliases, verdict, _challenger_tags(registry, model))
    if alias is not None:
        registry.client.set_registered_model_alias(model, alias, str(number))
    return Registration(
        model=model,
        version=number,
        digest=digest,
        alias=alias,
        reason=reason,
        next_line="" if alias else f"python -m training promote {model} --version {number} --alias {CHALLENGER}",
    )


def choose_alias(
    aliases: Mapping[str, int], verdict: Verdict, challenger_tags: Mapping[str, str]
) -> tuple[str | None, str]:
    """Alias of a new version, and why there is none.

    >>> choose_alias({}, Verdict(), {})
    ('champion', '')
    >>> choose_alias({"champion": 1, "challenger": 2}, Verdict(), {"traffic.mode": "canary"})
    (None, 'version 2 under challenger carries traffic.mode: a retraining never ends what a person began')
    """
    if not verdict.passed:
        return None, f"a gate failed: {'; '.join(verdict.reasons)}"
    if CHAMPION not in aliases:
        return CHAMPION, ""
    carried = sorted(key for key in challenger_tags if key.startswith(TRAFFIC_PREFIX))
    if CHALLENGER in aliases and carried:
        return None, (
            f"version {aliases[CHALLENGER]} under challenger carries {carried[0]}: "
            "a retraining never ends what a person began"
        )
    return CHALLENGER, ""


def read_aliases(registry: Registry, model: str) -> dict[str, int]:
    """Aliases of a model, each with its version; empty when there is no such model."""
    found = registry.client.search_registered_models(filter_string=f"name = '{model}'")
    return {str(alias): int(number) for entry in found for alias, number in entry.aliases.items()}


def promote(registry: Registry, model: str, version: int | None = None) -> tuple[int | None, int]:
    """Move `champion` to a version, by default the challenger; (version before, version now).

    The challenger's alias goes when it stood on the same version. `previous` is the server's to move, once the new
    champion is live. Raises: RegistryError: there is no such version, or the server has barred it.
    """
    aliases = read_aliases(registry, model)
    target = aliases.get(CHALLENGER) if version is None else version
    if target is None:
        raise RegistryError(f"{model} has no challenger; name the version: promote {model} --version N")
    _check_servable(registry, model, target)
    registry.client.set_registered_model_alias(model, CHAMPION, str(target))
    if aliases.get(CHALLENGER) == target:
        registry.client.delete_registered_model_alias(model, CHALLENGER)
    return aliases.get(CHAMPION), target


def rollback(registry: Registry, model: str) -> tuple[int | None, int]:
    """Take the champion back; (version before, version now).

    Where the champion answers it goes to `previous`. Where it does not (refused, or not yet seen) it goes to the
    version that goes on answering: `previous` is then one promotion too old.
    Raises: RegistryError: there is no previous champion, or the server has barred it.
    """
    aliases = read_aliases(registry, model)
    answering = _answering(registry, model, aliases)
    target = answering if answering not in {None, aliases.get(CHAMPION)} else aliases.get(PREVIOUS)
    if target is None:
        raise RegistryError(
            f"{model} has no previous champion: a running server notes it a moment after each promotion; "
            f"or name the version: python -m training promote {model} --version N"
        )
    return promote(registry, model, target)


def set_alias(registry: Registry, model: str, alias: str, version: int) -> None:
    """Give an alias to a version by hand."""
    _check_servable(registry, model, version)
    registry.client.set_registered_model_alias(model, alias, str(version))


def _answering(registry: Registry, model: str, aliases: Mapping[str, int]) -> int | None:
    """Version that the server last said it answers with by default; None when it has said nothing."""
    shares = {
        int(found.version): float(found.tags.get(SHARE_TAG, 0))
        for found in registry.client.search_model_versions(f"name = '{model}'")
        if found.tags.get(STATE_TAG) == "live" and int(found.version) != aliases.get(CHALLENGER)
    }
    return max(shares, key=shares.__getitem__) if any(shares.values()) else None


def _log_model(registry: Registry, folder: Path, model: str, run_id: str) -> str:
    from mlflow.models import Model

    name = model.replace(".", "-")  # MLflow allows a dot in a registered model's name, and none in a logged one's
    logged = registry.client.create_logged_model(
        experiment_id=registry.experiment_id, name=name, source_run_id=run_id, model_type=flavor.FLAVOR
    )
    Model.log(
        artifact_path=None,
        name=name,
        flavor=flavor,
        run_id=run_id,
        model_id=logged.model_id,
        artifact=folder,
        input_example=_input_example(folder),
        validate_serving_input=False,  # there is no code in the artifact that could answer it
    )
    registry.client.finalize_logged_model(logged.model_id, "READY")
    return str(logged.model_id)


def _input_example(folder: Path) -> dict[str, Any] | None:
    """Features of the first golden request, or the whole of it, for people who read the version in MLflow."""
    path = folder / "golden.json"
    if not path.is_file():
        return None
    cases = json.loads(path.read_bytes())["cases"]
    if not cases:
        return None
    if not parse_manifest((folder / MANIFEST_NAME).read_bytes()).features["features"]:
        return {"request": json.dumps(cases[0]["request"])}
    features = cases[0]["request"].get("features")
    return features if isinstance(features, dict) and features else None


def _ensure_model(registry: Registry, model: str) -> None:
    if not registry.client.search_registered_models(filter_string=f"name = '{model}'"):
        registry.client.create_registered_model(model)


def _challenger_tags(registry: Registry, model: str) -> dict[str, str]:
    number = read_aliases(registry, model).get(CHALLENGER)
    return {} if number is None else dict(registry.client.get_model_version(model, str(number)).tags)


def _check_servable(registry: Registry, model: str, version: int) -> None:
    numbers = [int(found.version) for found in registry.client.search_model_versions(f"name = '{model}'")]
    if version not in numbers:
        raise RegistryError(
            f"{model} has no version {version}; it has {', '.join(map(str, sorted(numbers))) or 'none'}"
        )
    tags = registry.client.get_model_version(model, str(version)).tags
    if DIGEST_TAG not in tags:
        raise RegistryError(f"{model} v{version} has no tag {DIGEST_TAG}: the server would refuse it")
    if (state := tags.get(STATE_TAG)) in BARRED_STATES:
        raise RegistryError(
            f"{model} v{version} is {state}: {tags.get('serving.reason', 'no reason given')}; "
            f"delete its tag {STATE_TAG} first if it should be tried again"
        )
