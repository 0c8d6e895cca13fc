"""`python -m tools.locks`: resolve requirements/*.txt from pyproject.toml, one lock a dependency group.

The largest group is resolved first; the others are held to its versions. The files carry hashes and no address.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_FOLDER = _ROOT / "requirements"
_LARGEST = "dev"
_OTHERS = ("worker", "heavy", "control", "train")


def main() -> int:
    """Write all locks; returns the exit code."""
    _compile(_LARGEST)
    pins = re.findall(r"^[A-Za-z0-9_.-]+==[^\\\n]+", (_FOLDER / f"{_LARGEST}.txt").read_text(), re.MULTILINE)
    (_FOLDER / "constraints.txt").write_text("".join(f"{pin.strip()}\n" for pin in pins))
    for group in _OTHERS:
        _compile(group, "-c", "requirements/constraints.txt")
    return 0


def _compile(group: str, *more: str) -> None:
    uv = Path(sys.executable).with_name("uv")
    options = ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-header", "--no-annotate", "-q"]
    output = f"requirements/{group}.txt"
    subprocess.run([uv, "pip", "compile", *options, "--group", group, *more, "-o", output], cwd=_ROOT, check=True)


if __name__ == "__main__":
    sys.exit(main())
