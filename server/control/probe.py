"""Tries an artifact in a child process before any worker loads it: load, golden requests, answers, with hard limits.

`python -m server.control.probe FOLDER` is the child. It limits its own memory, processor time and open files, loads
the graph in the runtime that the workers use, sends the golden requests the whole way (request → matrix → score →
answer) and prints one line of JSON. `probe_folder` starts it and turns whatever happens — an answer that differs, a
crash, a hang, too much memory — into a reason.

The child gets no credentials: its environment holds the import path and nothing else.
Not here: sums and names of files (artifacts.py); which operators a graph may have (graph.py); what a feature snapshot
must hold (snapshot_trial.py).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from numpy.typing import NDArray

from methods.features import FeatureSchema, Kind, encode_columns
from methods.manifest import MANIFEST_NAME, Manifest, digest_of, parse_manifest
from methods.revenue.churn import DEFAULT_HORIZONS, churn_by_horizon, parse_parameters
from methods.revenue.churn_cause import place_cause, voluntary_share
from methods.snapshot import module_of
from paedsresus.ml.v1 import revenue_pb2
from server.catalogue import KINDS, whole_method
from server.control.artifacts import Refusal, RefusalCode
from server.control.snapshot_trial import try_snapshot
from server.desired import Load
from server.ranks import CONTROL, PROBE, take_rank
from server.serving.load import LoadRefused, open_artifact
from server.serving.whole import Moment, Whole
from server.signals import signal_name

CASES_MIN = 20  # fewer golden requests cannot cover the features and their absence
TOLERANCE_MAX = 1e-3  # an artifact may not declare itself equal to anything
DRIFT_FACTOR = 1_000.0
"""Second, larger bound for a digest that was live here before: drift of a runtime must not empty a server at boot."""

BOOSTER = "booster.ubj"
EXPLAINED_MAX = 1e-3  # log-odds; contributions are sums of float32 over hundreds of trees

_SECONDS_PER_DAY = 86_400.0
_OUTPUT_BYTES_MAX = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a trial may use. `tolerance_factor` widens the golden bound, 1 for a version that was never live."""

    memory_mb: int = 2048
    seconds: float = 60.0
    tolerance_factor: float = 1.0


def probe_folder(folder: Path, limits: Limits) -> Refusal | None:
    """Run the child on a folder and wait for it, at most `limits.seconds`; the reason why the version fails, if any."""
    command = [sys.executable, "-m", "server.control.probe", str(folder), str(limits.memory_mb), str(limits.seconds)]
    environment = {
        "PYTHONPATH": os.pathsep.join(part for part in sys.path if part),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PATH": os.defpath,
    }
    with subprocess.Popen(
        [*command, str(limits.tolerance_factor)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    ) as child:
        try:
            output, _ = child.communicate(timeout=limits.seconds)
        except subprocess.TimeoutExpired:
            return _refuse(RefusalCode.PROBE_TIMEOUT, f"the trial run took longer than {limits.seconds:g} s")
        finally:
            with contextlib.suppress(ProcessLookupError):  # also ends whatever it may have started
                os.killpg(child.pid, signal.SIGKILL)
    return _judge(child.returncode, output, limits)


def _judge(returncode: int, output: bytes, limits: Limits) -> Refusal | None:
    if returncode == -signal.SIGXCPU:
        return _refuse(RefusalCode.PROBE_TIMEOUT, f"the trial run computed for more than {limits.seconds:g} s")
    if returncode < 0:
        name = signal_name(-returncode)
        return _refuse(
            RefusalCode.PROBE_CRASHED,
            f"the trial run was killed by {name}: the version crashes the library that reads it",
        )
    try:
        verdict = json.loads(output[:_OUTPUT_BYTES_MAX])
        refusal = verdict["refusal"]
        if refusal is None:
            return None
        return Refusal(code=RefusalCode(refusal["code"]), text=str(refusal["text"]), detail=str(refusal["detail"]))
    except (ValueError, KeyError, TypeError):
        return _refuse(RefusalCode.PROBE_CRASHED, f"the trial run ended with exit code {returncode} and no verdict")


def try_artifact(folder: Path, tolerance_factor: float) -> Refusal | None:
    """What the child does: load the version as a worker would, and hold it to what it promises."""
    manifest = parse_manifest((folder / MANIFEST_NAME).read_bytes())
    if (method := whole_method(manifest.model)) is not None:
        return _check_graph_of_whole(folder) or _try_whole(folder, method, tolerance_factor)
    if (module := module_of(manifest.model)) is not None:
        return try_snapshot(folder, manifest, module)
    return _try_rows(folder, manifest, tolerance_factor)


def _check_graph_of_whole(folder: Path) -> Refusal | None:
    """A version that reads requests as a whole may have a graph; its parameters say how wide it is."""
    from server.control.graph import check_graph

    path = folder / "model.onnx"
    problem = check_graph(path.read_bytes(), None) if path.exists() else None
    return None if problem is None else _refuse(RefusalCode.GRAPH, problem)


def _try_rows(folder: Path, manifest: Manifest, tolerance_factor: float) -> Refusal | None:
    """Check the graph, load it, answer the golden requests, compare."""
    from server.control.graph import check_graph

    schema = FeatureSchema.from_json(manifest.features)
    graph = (folder / "model.onnx").read_bytes()
    if problem := check_graph(graph, len(schema.columns)):
        return _refuse(RefusalCode.GRAPH, problem)
    answerer = ANSWERERS.get(manifest.model)
    if answerer is None:
        return _refuse(RefusalCode.OTHER_MODEL, f"this release serves no model {manifest.model!r}")
    golden = _read_golden(folder, needed="churn")
    if isinstance(golden, Refusal):
        return golden
    try:
        score = _load_session(graph)
    except Exception as error:  # noqa: BLE001 - the outer edge of a library that raises a dozen classes
        return _refuse_graph("load", error)
    return answerer(folder, schema, golden, score, tolerance_factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """Requests as JSON with the parts of their answers that must match, and the largest difference allowed."""

    tolerance: float
    cases: tuple[tuple[dict[str, Any], dict[str, Any]], ...]


Score = Callable[[NDArray[np.float32]], NDArray[np.float64]]
"""(n, columns) -> (n,) margins."""


def _answer_churn(folder: Path, schema: FeatureSchema, golden: Golden, score: Score, factor: float) -> Refusal | None:
    try:
        parameters = parse_parameters(json.loads((folder / "parameters.json").read_bytes()))
        cause = None if parameters.cause is None else place_cause(parameters.cause, schema.columns)
    except ValueError as wrong:
        return _refuse(RefusalCode.PARAMETERS, f"parameters.json: {wrong}")
    try:
        requests = [ParseDict(case, revenue_pb2.PredictChurnRequest()) for case, _ in golden.cases]
    except ParseError as wrong:
        text = "golden.json holds a request that the contract of this release does not know"
        return Refusal(code=RefusalCode.GOLDEN, text=text, detail=str(wrong))
    matrix = feature_matrix([(r.features, r.context.as_of_time.ToNanoseconds() / 1e9) for r in requests], schema)
    try:
        margins = score(matrix)
    except Exception as error:  # noqa: BLE001 - as above
        return _refuse_graph("run", error)
    if margins.shape != (len(requests),) or not np.isfinite(margins).all():
        return _refuse(RefusalCode.GRAPH, f"model.onnx gives {margins.shape} scores or some that are no numbers")
    bound = golden.tolerance * factor
    for case, (request, (_, answer)) in enumerate(zip(requests, golden.cases, strict=True)):
        told: dict[str, Any] = {}
        if cause is not None:
            told["voluntaryShare"] = voluntary_share(matrix[case].tolist(), cause)._asdict()
        if (effect := parameters.intervention) is not None:
            uplift = {"value": effect.value, "lower": effect.lower, "upper": effect.upper}
            told["intervention"] = {"treat": effect.treat, "offerId": effect.offer_id, "uplift": uplift}
        horizons = tuple(request.horizon_days) or DEFAULT_HORIZONS
        curve = churn_by_horizon(margins[case : case + 1], parameters, horizons)
        told["churn"] = [
            {
                "horizonDays": days,
                "churnProbability": {name: float(getattr(curve, name)[0, at]) for name in ("value", "lower", "upper")},
            }
            for at, days in enumerate(horizons)
        ]
        difference = largest_difference(told, answer)  # what is served must be promised, all of it
        if not difference <= bound:
            return _refuse_golden(case + 1, len(requests), difference, bound)
    return _try_trees(folder / BOOSTER, matrix, margins)


def _try_trees(path: Path, matrix: NDArray[np.float32], margins: NDArray[np.float64]) -> Refusal | None:
    """The native trees, where there are any, must load and explain the graph's own scores."""
    if not path.exists():
        return None
    import xgboost  # a second and 200 MB, for versions that carry trees

    booster: Any = xgboost.Booster({"nthread": 1})
    try:
        booster.load_model(bytearray(path.read_bytes()))
        rows = xgboost.DMatrix(matrix, missing=np.nan, feature_names=booster.feature_names, nthread=1)
        sums = booster.predict(rows, pred_contribs=True).sum(axis=1)
    except Exception as error:  # noqa: BLE001 - as above
        text = f"xgboost cannot read {path.name} or explain golden requests with it; control's log has its words"
        return Refusal(code=RefusalCode.TREES, text=text, detail=" ".join(str(error).split())[:2_000])
    difference = float(np.abs(sums - margins).max()) if sums.shape == margins.shape else math.inf
    if not difference <= EXPLAINED_MAX:
        text = f"explanations by {path.name} miss the score of model.onnx by {difference:.2g}; export both from one fit"
        return _refuse(RefusalCode.TREES, text)
    return None


ANSWERERS: Mapping[str, Callable[[Path, FeatureSchema, Golden, Score, float], Refusal | None]] = {
    "churn": _answer_churn
}
"""How each model that this release serves turns scores into answers."""


def feature_matrix(rows: Sequence[tuple[Any, float]], schema: FeatureSchema) -> NDArray[np.float32]:
    """Feature messages, each with its as-of time (seconds since 1970), as an artifact's matrix; missing is NaN."""
    columns = {
        feature.name: np.array([_value(message, as_of, feature.name, feature.kind) for message, as_of in rows])
        for feature in schema.features
    }
    return encode_columns(schema, columns)


def _value(message: Any, as_of: float, name: str, kind: Kind) -> float:
    if not message.HasField(name):
        return math.nan
    value = getattr(message, name)
    if kind is Kind.MONEY:
        return float(value.minor_units)
    if kind is Kind.TIME:
        return float(value.ToNanoseconds() / 1e9 - as_of) / _SECONDS_PER_DAY
    return float(value)


def largest_difference(expected: object, found: object) -> float:
    """Largest absolute difference of two JSON trees, over the parts that `expected` names; infinite where they differ
    in shape, in a text, or in a number that is not finite.

    >>> largest_difference({"a": [1.0, 2.0]}, {"a": [1.0, 2.5], "b": 0})
    0.5
    >>> largest_difference([1.0], [])
    inf
    """
    if isinstance(expected, dict) and isinstance(found, dict):
        return max((largest_difference(part, found.get(name)) for name, part in expected.items()), default=0.0)
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        return max((largest_difference(*pair) for pair in zip(expected, found, strict=True)), default=0.0)
    if isinstance(expected, int | float) and isinstance(found, int | float):
        difference = abs(expected - found)
        return difference if math.isfinite(difference) else math.inf
    return 0.0 if expected == found else math.inf


def _try_whole(folder: Path, method: Whole, factor: float) -> Refusal | None:
    """Open the parameters as a worker does, and answer the golden requests by the method itself."""
    digest = digest_of((folder / MANIFEST_NAME).read_bytes())
    load = Load(model=method.model, version=1, digest=digest, folder=folder.name)
    try:
        model = KINDS[method.model].open(open_artifact(folder, digest), load)
    except LoadRefused as refused:
        return _refuse(RefusalCode.PARAMETERS, str(refused))
    golden = _read_golden(folder)
    if isinstance(golden, Refusal):
        return golden
    bound = golden.tolerance * factor
    for case, (asked, answer) in enumerate(golden.cases, start=1):
        try:
            request: Any = ParseDict(asked, method.request())
        except ParseError as wrong:
            text = "golden.json holds a request that the contract of this release does not know"
            return Refusal(code=RefusalCode.GOLDEN, text=text, detail=str(wrong))
        moment = Moment(request.context.as_of_time.ToNanoseconds() / 1e9, bytes(32))
        try:
            found = MessageToDict(method.solve(model, request, moment))
        except Exception as error:  # noqa: BLE001 - whatever a method meets in parameters that it was not made for
            text = f"golden request {case} of {len(golden.cases)} has no answer; control's log has the method's words"
            return Refusal(code=RefusalCode.GOLDEN, text=text, detail=" ".join(repr(error).split())[:2_000])
        difference = largest_difference(answer, found)
        if not difference <= bound:
            return _refuse_golden(case, len(golden.cases), difference, bound)
    return None


def _refuse_golden(case: int, cases: int, difference: float, bound: float) -> Refusal:
    return _refuse(
        RefusalCode.GOLDEN,
        f"golden answer {case} of {cases} differs by {difference:.2g} (allowed {bound:.2g}); "
        "re-export the version or move the alias back",
    )


def _read_golden(folder: Path, *, needed: str | None = None) -> Golden | Refusal:
    """The golden requests; every answer must name `needed`, or anything at all."""
    try:
        document = json.loads((folder / "golden.json").read_bytes())
        tolerance = float(document["tolerance"])
        cases = tuple((dict(case["request"]), dict(case["answer"])) for case in document["cases"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return _refuse(RefusalCode.GOLDEN, "golden.json is unreadable: it needs tolerance and cases of request, answer")
    if not 0 < tolerance <= TOLERANCE_MAX or len(cases) < CASES_MIN:
        return _refuse(
            RefusalCode.GOLDEN,
            f"golden.json has {len(cases)} cases and tolerance {tolerance:g}; "
            f"at least {CASES_MIN} and at most {TOLERANCE_MAX:g} are needed",
        )
    if not all(answer.get(needed) if needed else answer for _, answer in cases):
        return _refuse(RefusalCode.GOLDEN, "golden.json has a case without an answer to compare")
    return Golden(tolerance=tolerance, cases=cases)


def _load_session(graph: bytes) -> Score:
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def score(matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        whole = np.asarray(session.run(["margin"], {"features": matrix})[0], dtype=np.float64)
        # One by one too: a graph whose answer depends on its neighbours would answer batches and singles differently.
        alone = [np.asarray(session.run(["margin"], {"features": row[None]})[0]).ravel() for row in matrix]
        if whole.shape != (len(matrix), 1) or not np.allclose(whole[:, 0], np.concatenate(alone), equal_nan=True):
            raise _RowsDependError
        return whole[:, 0]

    return score


class _RowsDependError(Exception):
    """A row's score depends on the rows beside it."""


def _refuse_graph(action: str, error: Exception) -> Refusal:
    """In our words: a library's own name paths of the machine that built it, and reach whoever asks for a status."""
    if isinstance(error, _RowsDependError):
        text = "model.onnx gives rows in a batch other scores than the same rows alone"
    elif isinstance(error, MemoryError) or "alloc" in str(error).lower():
        text = f"the runtime cannot {action} model.onnx: it needs more memory than a trial run may use"
    else:
        text = f"the runtime cannot {action} model.onnx; control's log has its words"
    return Refusal(code=RefusalCode.GRAPH, text=text, detail=" ".join(str(error).split())[:2_000])


def _refuse(code: RefusalCode, text: str) -> Refusal:
    return Refusal(code=code, text=text)


def _limit(memory_mb: int, seconds: float) -> None:
    processor = math.ceil(seconds)
    resource.setrlimit(resource.RLIMIT_AS, (memory_mb << 20, memory_mb << 20))
    resource.setrlimit(resource.RLIMIT_CPU, (processor, processor + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_OUTPUT_BYTES_MAX, _OUTPUT_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    take_rank(PROBE, over=CONTROL)


def main(arguments: Sequence[str]) -> None:
    """Entry of the child: folder, memory in MiB, seconds, tolerance factor."""
    parser = argparse.ArgumentParser(prog="python -m server.control.probe")
    parser.add_argument("folder", type=Path)
    parser.add_argument("memory_mb", type=int, nargs="?", default=2048)
    parser.add_argument("seconds", type=float, nargs="?", default=60.0)
    parser.add_argument("tolerance_factor", type=float, nargs="?", default=1.0)
    given = parser.parse_args(arguments)
    _limit(given.memory_mb, given.seconds)
    refusal = try_artifact(given.folder, given.tolerance_factor)
    document = refusal and {"code": refusal.code.value, "text": refusal.text, "detail": refusal.detail}
    sys.stdout.write(json.dumps({"refusal": document}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
