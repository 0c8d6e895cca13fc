"""One version of every model, trained by the product on a small simulated platform, and golden requests as load.

A version brings requests that it must answer, the golden ones: typical for its method, and at hand for a method that
is added later. They are cycled through, each with an id of its own.
Not here: churn of a realistic size (artifact.py); the golden requests themselves (training/).
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from functools import cached_property
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.json_format import ParseDict

from benchmarks.speed.subjects.processes import ROOT
from methods.manifest import MANIFEST_NAME, parse_manifest
from paedsresus.ml.rows import pack_columns
from server.serving.contract import Method

BATCH_ROWS = 100
_TRAINING_SECONDS = 600.0


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A folder with a mart and a registry of everything that the product trains."""

    folder: Path
    users: int

    @property
    def registry_uri(self) -> str:
        """The registry's address."""
        return f"sqlite:///{self.folder / 'mlruns' / 'mlflow.db'}"

    @cached_property
    def golden(self) -> Mapping[str, Sequence[Any]]:
        """Golden requests as JSON, by model."""
        found = {}
        for manifest in (self.folder / "mlruns").rglob(MANIFEST_NAME):
            golden = manifest.parent / "golden.json"
            if golden.exists():  # a snapshot of features answers nothing
                cases = json.loads(golden.read_bytes())["cases"]
                found[parse_manifest(manifest.read_bytes()).model] = [case["request"] for case in cases]
        return found

    def questions(self, method: Method, count: int) -> Iterator[bytes]:
        """`count` serialised requests to a method, cycled from the golden ones of its model.

        Those of a batch have the golden requests' features as their rows, BATCH_ROWS of them.
        Raises: KeyError: nothing of its model was trained.
        """
        described = descriptor_pool.Default().FindMethodByName(method.path.strip("/").replace("/", "."))
        kind: Any = message_factory.GetMessageClass(described.input_type)
        cases = self.golden[method.models[0]]
        columns = kind.DESCRIPTOR.fields_by_name.get("columns")
        requests = [_batch(kind, described, cases)] if columns else [ParseDict(case, kind()) for case in cases]
        for number, request in enumerate(islice(cycle(requests), count)):
            request.context.request_id = f"speed-{method.name}-{number}"
            yield request.SerializeToString()


def train(folder: Path, *, users: int) -> Trained:
    """Simulate a platform and train everything, as a first start does.

    Raises: RuntimeError: training ended without a version; its last words are in the message.
    """
    trained = Trained(folder=folder, users=users)
    folder.mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-m", "training.bootstrap", "--users", str(users), "--mart", str(folder / "mart")],
        cwd=ROOT,
        env={**os.environ, "PAEDSRESUS_REGISTRY_URI": trained.registry_uri},
        capture_output=True,
        text=True,
        timeout=_TRAINING_SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"training ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return trained


def _batch(kind: Any, described: Any, cases: Sequence[Any]) -> Any:
    """One batch whose rows are those of the golden requests to the method for one row, over and over."""
    single = described.containing_service.methods_by_name[described.name.removeprefix("Batch")]
    asked: Any = message_factory.GetMessageClass(single.input_type)
    golden = [ParseDict(case, asked()) for case in cases]
    rows = [request.features for request in islice(cycle(golden), BATCH_ROWS) if request.HasField("features")]
    request = kind()
    request.context.as_of_time.CopyFrom(golden[0].context.as_of_time)
    moment = golden[0].context.as_of_time.ToDatetime(tzinfo=UTC)
    request.columns.CopyFrom(pack_columns(type(request.columns), rows, as_of=moment))
    return request
