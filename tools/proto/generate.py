"""Python stubs of the contract: protos/ -> clients/python/src/paedsresus/ml/v1, one copy for everyone.

The buf.validate gencode lies beside them under a name of our own, so that no package of ours claims `buf`.
Not here: linting and comparing (__main__.py).
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tools.proto.compiler import VALIDATE_PROTO, run_protoc
from tools.proto.sources import proto_files

STUBS = Path("paedsresus/ml/v1")
VALIDATE = Path("paedsresus/ml/_validate")
_VALIDATE_IMPORT = re.compile(r"^from buf\.validate import validate_pb2 as (\S+)$", re.MULTILINE)


def generate_python(protos: Path, build: Path, target: Path) -> None:
    """Write the stubs below `target`; whatever generated files were there are replaced."""
    out = build / "python"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    plugins = [f"--{plugin}_out={out}" for plugin in ("python", "grpc_python", "mypy", "mypy_grpc")]
    run_protoc(build, protos, plugins, proto_files(protos))
    run_protoc(build, protos, [f"--python_out={out}", f"--mypy_out={out}"], [VALIDATE_PROTO])
    _replace(
        out / STUBS, target / STUBS, '"""Messages and service stubs of the contract, generated; never edited."""\n'
    )
    _replace(out / "buf/validate", target / VALIDATE, '"""The rules\' own messages, generated; never edited."""\n')


def _replace(source: Path, target: Path, plate: str) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    (target / "__init__.py").write_text(plate)
    for path in sorted(source.iterdir()):
        if path.suffix in {".py", ".pyi"} and not (path.name.endswith("_grpc.pyi") and _is_empty(path)):
            text = _VALIDATE_IMPORT.sub(r"from paedsresus.ml._validate import validate_pb2 as \1", path.read_text())
            (target / path.name).write_text(_with_our_imports(text))


def _with_our_imports(text: str) -> str:
    # google.longrunning.operations_pb2 also loads grpc; the messages alone stand in operations_proto_pb2.
    text = text.replace("google.longrunning import operations_pb2", "google.longrunning import operations_proto_pb2")
    text = text.replace("from buf.validate import validate_pb2", "from paedsresus.ml._validate import validate_pb2")
    return text.replace("import buf.validate.validate_pb2", "import paedsresus.ml._validate.validate_pb2").replace(
        "buf.validate.validate_pb2.", "paedsresus.ml._validate.validate_pb2."
    )


def _is_empty(path: Path) -> bool:
    return not path.read_text().strip()
