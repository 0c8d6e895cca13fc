"""`python -m tools.proto [--check]`: regenerate everything made from protos/, or prove that nothing would change.

--check also runs buf's format, lint (STANDARD and COMMENTS) and, once a release left its image in
protos/released.binpb, its breaking check.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import subprocess
import sys
from pathlib import Path

from tools.proto.compiler import compile_descriptors
from tools.proto.generate import STUBS, VALIDATE, generate_python
from tools.proto.sources import proto_files, write_columns

ROOT = Path(__file__).resolve().parents[2]
PROTOS = ROOT / "protos"
BUILD = ROOT / ".build/proto"
CLIENT = ROOT / "clients/python/src"
RELEASED = PROTOS / "released.binpb"


def main() -> int:
    """Generate, or check; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.proto", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail when something would change")
    check = parser.parse_args().check
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # buf and the plugins
    BUILD.mkdir(parents=True, exist_ok=True)
    return _check() if check else _generate()


def _generate() -> int:
    for name in write_columns(PROTOS, BUILD):
        print(f"columns written into {name}")
    generate_python(PROTOS, BUILD, CLIENT)
    return 0


def _check() -> int:
    problems = []
    copy = BUILD / "copy"
    subprocess.run(["rm", "-rf", str(copy)], check=True)
    subprocess.run(["cp", "-r", str(PROTOS), str(copy)], check=True)
    problems += [f"{name}: its columns differ from its features; run make proto" for name in write_columns(copy, BUILD)]
    fresh = BUILD / "fresh"
    generate_python(PROTOS, BUILD, fresh)
    for folder in (STUBS, VALIDATE):
        problems += [
            f"{name} is not what the protos give; run make proto"
            for name in _differences(CLIENT / folder, fresh / folder)
        ]
    image = BUILD / "image.binpb"
    compile_descriptors(BUILD, PROTOS, proto_files(PROTOS), output=image)
    problems += _buf("format", "-d", "--exit-code", str(PROTOS))
    ours = [argument for name in proto_files(PROTOS) for argument in ("--path", name)]
    problems += _buf("lint", str(image), "--config", str(PROTOS / "buf.yaml"), *ours)
    if RELEASED.exists():
        problems += _buf(
            "breaking", str(image), "--against", str(RELEASED), "--config", str(PROTOS / "buf.yaml"), *ours
        )
    for problem in problems:
        print(problem)
    return 1 if problems else 0


def _differences(kept: Path, fresh: Path) -> list[str]:
    names = {path.name for folder in (kept, fresh) for path in folder.glob("*.py*") if path.is_file()}
    _, mismatch, missing = filecmp.cmpfiles(kept, fresh, names, shallow=False)
    return sorted([*mismatch, *missing])


def _buf(*arguments: str) -> list[str]:
    done = subprocess.run(["buf", *arguments], capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip().splitlines() if done.returncode else []


if __name__ == "__main__":
    sys.exit(main())
