"""`python -m tools.addresses`: no tracked file names a package registry's host or a path of the building machine.

Lock files with addresses would tie every user to one registry; absolute paths would tie the project to one machine.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

# Written in parts, so that this file passes its own check.
_HOSTS = (
    "python" + "hosted",
    "py" + r"pi\.org",
    "npm" + r"js\.(org|com)",
    "deb" + r"\.debian\.org",
    "registry" + r"\.yarnpkg",
)
_HOST = re.compile("|".join(_HOSTS))
_ROOT = Path(__file__).resolve().parents[1]


def machine_paths() -> re.Pattern[str]:
    """Absolute paths that only exist where the project is being built: home, the tree itself, and its top folder."""
    tops = {str(Path.home()), str(_ROOT), "/" + _ROOT.parts[1]} - {"/", "/home", "/usr", "/opt", "/tmp", "/var"}  # noqa: S108 - names of folders that every machine has
    return re.compile(r"(?<![\w.$}])(" + "|".join(sorted(re.escape(top) for top in tops)) + r")/")


def findings(files: list[Path]) -> Iterator[str]:
    """One line a finding: file, line number, what was found."""
    paths = machine_paths()
    for file in files:
        try:
            text = file.read_text()
        except UnicodeDecodeError:
            continue  # pictures and images of descriptors
        for number, line in enumerate(text.splitlines(), start=1):
            if found := _HOST.search(line) or paths.search(line):
                yield f"{file.relative_to(_ROOT)}:{number}: {found.group(0)}"


def main() -> int:
    """Print every finding; returns the exit code."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=_ROOT, capture_output=True, text=True, check=True).stdout
    found = list(findings([_ROOT / name for name in listed.split("\0") if name and (_ROOT / name).is_file()]))
    print("\n".join(found) if found else "no address of a registry, no path of this machine")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
