"""`python -m tools.symmetry`: every RPC that is built has its servicer method, page, tests and models; else a hole.

The RPCs of the contract are the list. One that is not built yet is counted, not refused: it answers UNIMPLEMENTED.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from paedsresus.ml.v1 import common_pb2

_ROOT = Path(__file__).resolve().parents[1]
MODULES = ("kaizen", "learning", "referral", "revenue", "impact")
_SHARED = {"RunPipeline", "GetStatus"}  # one page and one test serve all five modules


@dataclass(frozen=True, slots=True, kw_only=True)
class Rpc:
    """One RPC of a module: its name and the registered models it asks."""

    module: str
    name: str
    models: tuple[str, ...]

    @property
    def snake(self) -> str:
        """The name as Python, pages and tests write it."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", self.name).lower()


def rpcs() -> Iterator[Rpc]:
    """Every RPC of the five modules, in the contract's order."""
    for module in MODULES:
        service = importlib.import_module(f"paedsresus.ml.v1.{module}_pb2").DESCRIPTOR.services_by_name[
            f"{module.capitalize()}Service"
        ]
        for method in service.methods:
            yield Rpc(module=module, name=method.name, models=tuple(method.GetOptions().Extensions[common_pb2.model]))


def is_built(rpc: Rpc) -> bool:
    """Whether this release answers it: by a servicer's own method, or as one of its module's whole methods."""
    service = importlib.import_module(f"server.modules.{rpc.module}.service")
    servicer = getattr(service, f"{rpc.module.capitalize()}Service")
    whole = (*getattr(service, "WHOLE", ()), *getattr(service, "HEAVY", ()))
    return hasattr(servicer, rpc.snake) or any(method.path.endswith(f"/{rpc.name}") for method in whole)


def holes(rpc: Rpc) -> Iterator[str]:
    """What a built RPC lacks, one sentence each."""
    page = rpc.snake.removeprefix("batch_")
    if rpc.name in _SHARED:
        return
    if not (_ROOT / f"docs/methods/{page}.md").exists():
        yield f"{rpc.module}.{rpc.name}: no page docs/methods/{page}.md"
    tests = "".join(path.read_text() for path in (_ROOT / f"tests/server/modules/{rpc.module}").glob("test_*.py"))
    if rpc.name not in tests and rpc.snake not in tests:
        yield f"{rpc.module}.{rpc.name}: no test below tests/server/modules/{rpc.module} names it"
    for model in rpc.models:
        if not (_ROOT / f"training/{rpc.module}/{model}.py").exists():
            yield f"{rpc.module}.{rpc.name}: its model {model} has no training/{rpc.module}/{model}.py"
        if not (_ROOT / f"tests/training/{rpc.module}").is_dir():
            yield f"{rpc.module}.{rpc.name}: no folder tests/training/{rpc.module}"


def main() -> int:
    """Print every hole; returns the exit code."""
    found, built, planned = [], 0, 0
    for rpc in rpcs():
        if is_built(rpc):
            built += 1
            found += list(holes(rpc))
        else:
            planned += 1
    print("\n".join(found) or f"{built} RPCs are built without a hole, {planned} answer UNIMPLEMENTED")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
