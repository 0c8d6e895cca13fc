"""Our proto sources, and the generated region of columns inside them.

Not here: what a column looks like (columns.py).
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from tools.proto.columns import columns_message
from tools.proto.compiler import compile_descriptors

BEGIN = "// BEGIN GENERATED COLUMNS: made from the features above by `make proto`; do not edit."
END = "// END GENERATED COLUMNS"
PACKAGE = "paedsresus.ml.v1"
_REGION = re.compile(rf"\n*{re.escape(BEGIN)}.*?{re.escape(END)}\n*", re.DOTALL)
_USED = re.compile(r"\b([A-Z]\w+Columns)\s+\w+\s*=")


def proto_files(protos: Path) -> list[str]:
    """Our files as protoc names them, sorted."""
    return sorted(path.relative_to(protos).as_posix() for path in protos.rglob("*.proto"))


def write_columns(protos: Path, build: Path) -> list[str]:
    """Write the columns messages that each file's requests use into its generated region.

    Returns the files whose text changed. Files without such a request are left alone.
    """
    bare = build / "bare"
    shutil.rmtree(bare, ignore_errors=True)
    used: dict[str, list[str]] = {}
    for name in proto_files(protos):
        source = _REGION.sub("\n", (protos / name).read_text())
        used[name] = list(dict.fromkeys(_USED.findall(source)))
        target = bare / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(source + "".join(f"message {message} {{}}\n" for message in used[name]))
    pool = compile_descriptors(build, bare, proto_files(bare), output=build / "bare.binpb")
    changed = []
    for name, messages in used.items():
        if not messages:
            continue
        path = protos / name
        before = path.read_text()
        texts = [
            columns_message(pool.FindMessageTypeByName(f"{PACKAGE}.{message.removesuffix('Columns')}Features"))
            for message in messages
        ]
        region = "\n\n".join([BEGIN, *texts, END])
        path.write_text(_REGION.sub("\n", before).rstrip() + "\n\n" + region + "\n")
        subprocess.run(["buf", "format", "-w", str(path)], check=True)
        if path.read_text() != before:
            changed.append(name)
    return changed
