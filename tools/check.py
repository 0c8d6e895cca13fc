"""`python -m tools.check`: everything about the tree that can be judged without running it, each check with its time.

Runs all checks even when one fails, so that one run names every problem.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_BIN = Path(sys.executable).parent
_CODE = ("server", "training", "methods", "clients/python/src", "benchmarks", "tools")

CHECKS: dict[str, list[str]] = {
    "format": [str(_BIN / "ruff"), "format", "--check", "-q", "."],
    "lint": [str(_BIN / "ruff"), "check", "-q", "."],
    "types": [sys.executable, "-m", "mypy", *_CODE],
    "walls": [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
    "symmetry": [sys.executable, "-m", "tools.symmetry"],
    "contract": [sys.executable, "-m", "tools.proto", "--check"],
    "addresses": [sys.executable, "-m", "tools.addresses"],
    "dockerfile": [str(_BIN / "hadolint"), "Dockerfile"],
    "notices": [sys.executable, "-m", "tools.notices", "--check"],
    "reference": [sys.executable, "-m", "tools.reference", "--check"],
    "client methods": [sys.executable, "-m", "tools.client_methods", "--check"],
}


def main() -> int:
    """Run every check; returns 1 when any failed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_ROOT), str(_ROOT / "clients/python/src")])}
    failed = []
    for name, command in CHECKS.items():
        begin = time.monotonic()
        done = subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, text=True, check=False)
        print(f"{'ok  ' if done.returncode == 0 else 'FAIL'} {name:<15} {time.monotonic() - begin:5.1f} s", flush=True)
        if done.returncode:
            failed.append(name)
            print((done.stdout + done.stderr).strip(), flush=True)
    print(f"{len(CHECKS) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
