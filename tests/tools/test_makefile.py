"""What `make` promises about an installation: it survives a move of the folder, and no target is a name only."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PHONY = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[0].split()


def test_an_installation_works_after_its_folder_was_moved(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    package = first / "clients/python/src/carried"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (first / "requirements").mkdir()
    (first / "requirements/dev.txt").write_text("")  # nothing to fetch: the tests run without a network
    shutil.copy(ROOT / "Makefile", first)
    subprocess.run(["make", "-C", first, ".venv/.installed"], check=True, capture_output=True, timeout=100)

    first.rename(second)

    done = subprocess.run(
        [second / ".venv/bin/python", "-c", "import carried; print(carried.__file__)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert Path(done.stdout.strip()) == second / "clients/python/src/carried/__init__.py"


@pytest.mark.parametrize("target", PHONY)
def test_every_target_has_something_to_do(target: str) -> None:
    rules = re.findall(rf"^{target}:(.*)\n\t", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert len(rules) == 1
    assert "##" in rules[0], "make alone would not list it"


def test_no_target_runs_a_script_whose_first_line_names_the_folder() -> None:
    text = (ROOT / "Makefile").read_text() + (ROOT / "tools/check.py").read_text()

    for name in re.findall(r"(?:\$\(VENV\)/bin/|_BIN / \")([a-z-]+)", text):
        script = ROOT / ".venv/bin" / name
        if script.is_file() and name != "python":
            assert not script.read_bytes().startswith(b"#!"), name
