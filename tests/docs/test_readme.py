"""Every block of the README is run, in its order, against a server of its own; every command that a page names exists.

`make serve` and `make test` are not run inside a test: what they would run is compared with what is run here.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import typer

from paedsresus.ml import Client
from paedsresus.ml.errors import MlError
from server.__main__ import app as server_app
from tests.end_to_end.house import House, free_port, is_answering, wait_until
from tools.check import CHECKS
from training.__main__ import app as training_app

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), ROOT / "clients/python/README.md"]
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
LINES = [re.split(r"\s+# ", line)[0] for kind, block in BLOCKS if kind == "sh" for line in block.splitlines()]
MAKES = [line.removeprefix("make ") for line in LINES if line.startswith("make ")]

# What a line must say, by a part of it that no other line has; `None`: any words, exit code 0.
SAYS = {
    "print(Client(": r"churn \{\n  horizon_days: 28\n",
    "RevenueService/PredictChurn": r'"horizonDays": 28',
    "RolloutService/ListDeployments": r'"state": "DEPLOYMENT_STATE_LIVE"',
    "training fit churn": r"churn v2 registered with alias challenger",
    "training evaluate churn": r"churn v2",
    "training promote churn": r"champion of churn: v1 -> v2",
    "training rollback churn": r"champion of churn: v2 -> v1",
    "training snapshot revenue": r"features\.revenue v2 registered with alias champion",
    "training data collect": r"mart from folder:",
    "server status": r"system HEALTHY",
    "server doctor": r"the server runs as process \d+",
    "server hold churn": r"churn answers from version 1 until",
    "server freeze": r"what is live stays live until",
    "server release": r"ended: .*everything frozen",
    "/metrics": r"paedsresus_call_seconds_bucket",
}


@pytest.fixture(scope="module")
def serving(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("readme") / "house"
    shutil.copytree(trained, folder)
    shutil.copytree(folder / "data/mart", folder / "DIR")  # the platform's data as a person would bring them
    house = House(folder=folder, port=free_port(), metrics_port=free_port())
    house.start()
    try:
        wait_until(lambda: is_answering(house), seconds=60, what="server answers")
        wait_until(lambda: is_explaining(house), seconds=60, what="the compute process explains")
        for model in ("lessons", "features.learning", "features.revenue"):
            wait_until(
                lambda name=model: house.version_tag(1, "serving.state", name) == "live",  # type: ignore[misc]
                seconds=60,
                what=f"{model} is live",
            )
        yield house
    finally:
        house.stop()


@pytest.fixture
def here(serving: House, monkeypatch: pytest.MonkeyPatch) -> House:
    """This process stands where the reader stands."""
    for name in [name for name in os.environ if name.startswith(("PAEDSRESUS_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    for name, value in serving.environment.items():
        if name.startswith("PAEDSRESUS_"):
            monkeypatch.setenv(name, value)
    monkeypatch.chdir(serving.folder)
    return serving


def test_every_line_is_told_what_it_must_say_and_none_is_left_over() -> None:
    told = {part: [line for line in LINES if part in line] for part in SAYS}

    assert {part: len(lines) for part, lines in told.items()} == dict.fromkeys(SAYS, 1)
    assert len(SAYS) + len(MAKES) == len(LINES)


@pytest.mark.end_to_end
@pytest.mark.filterwarnings("default")  # MLflow and its libraries warn of themselves
def test_every_line_does_what_it_says(here: House, capsys: pytest.CaptureFixture[str]) -> None:
    for line in LINES:
        if line.startswith("make "):
            continue
        words = next(words for part, words in SAYS.items() if part in line)

        said = run(line, here, capsys)

        assert re.search(words, said), f"{line}\n{said}"
        if moved := re.search(r"champion of churn: v(\d) -> v(\d)", said):
            before, now = map(int, moved.groups())
            wait_until(
                lambda now=now, before=before: (here.champion(), previous(here)) == (now, before),
                seconds=20,
                what=f"version {now} answers and {before} is previous",
            )


@pytest.mark.end_to_end
def test_the_python_blocks_run(here: House, capsys: pytest.CaptureFixture[str]) -> None:
    for block in (block for kind, block in BLOCKS if kind == "python"):
        exec(compile(at(here, block), "README.md", "exec"), {"__name__": "readme"})  # noqa: S102 - the README is ours

    said = capsys.readouterr().out
    assert re.search(r"leaves within 28 days: \d+\.\d%\nfeatures\.seats must be", said)
    assert re.search(r"^[+-]\d+\.\d\d .*(raises|lowers) the chance", said, re.MULTILINE)
    assert re.search(r"shock-2.* \(features\.learning version 1\)$", said, re.MULTILINE)
    assert re.search(r"does not know the subject; send `features`", said)


@pytest.mark.end_to_end
def test_the_answer_shown_is_the_answer_given_but_for_digits(here: House, capsys: pytest.CaptureFixture[str]) -> None:
    (shown,) = [block for kind, block in BLOCKS if kind == "text"]
    said = skeleton(run(next(line for line in LINES if "print(Client(" in line), here, capsys))

    place = 0
    for piece in shown.split("…"):
        place = said.index(skeleton(piece), place)


@pytest.mark.parametrize(
    ("target", "runs"),
    [("serve", ["-m training.bootstrap", "-m server serve"]), ("test", ["-m tools.check", "pytest"])],
)
def test_the_two_commands_make_what_is_tested_here(target: str, runs: list[str]) -> None:
    planned = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert target in MAKES
    assert [part for part in runs if part in planned] == runs


@pytest.mark.parametrize("page", [pytest.param(page, id=page.relative_to(ROOT).as_posix()) for page in PAGES])
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    code = " ".join(re.findall(r"```.*?```|`[^`\n]+`", page.read_text(), re.DOTALL))
    rules = (ROOT / "Makefile").read_text()

    targets = re.findall(r"(?<![\w-])make ([a-z]+)", code)
    programs = re.findall(r"python -m ([\w.]+)((?: (?:--)?[a-z][a-z-]*(?= |`|\n|$))*)", code)

    assert [target for target in targets if not re.search(rf"^{target}:", rules, re.MULTILINE)] == []
    assert [" ".join(program) for program in programs if not exists(*program)] == []


def test_contributing_names_no_tool_that_the_check_does_not_run() -> None:
    named = set(re.findall(r"python -m (tools\.\w+)", (ROOT / "CONTRIBUTING.md").read_text()))

    assert named
    assert named <= {word for command in CHECKS.values() for word in command}


def is_explaining(house: House) -> bool:
    """Whether the compute process is there; it starts later than the workers."""
    try:
        with Client(house.target, connections=1) as client:
            client.revenue.predict_churn(features={"tenure_days": 1}, context={"explain": True}, timeout_seconds=1)
    except MlError:
        return False
    return True


def run(line: str, house: House, capsys: pytest.CaptureFixture[str]) -> str:
    """What a line prints. Training runs in this process: its libraries take three seconds to import, five times."""
    program, *words = shlex.split(at(house, line))
    if words[:2] == ["-m", "training"]:
        training_app(words[2:], standalone_mode=False)
        return "".join(capsys.readouterr())
    if program == "curl":
        with urllib.request.urlopen(words[-1], timeout=10) as answer:  # noqa: S310 - the house's own port
            return str(answer.read().decode())
    known = {".venv/bin/python": sys.executable, ".venv/bin/buf": str(Path(sys.executable).with_name("buf"))}
    done = subprocess.run(
        [known[program], *words],
        cwd=house.folder,
        env=house.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{line}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def previous(house: House) -> int | None:
    """Version under the alias `previous`, which the server sets when the new champion is live."""
    with closing(sqlite3.connect(f"file:{house.folder}/mlruns/mlflow.db?mode=ro", uri=True)) as database:
        row = database.execute("select version from registered_model_aliases where alias = 'previous'").fetchone()
    return row[0] if row else None


def at(house: House, text: str) -> str:
    """The text with this house's ports."""
    return text.replace("127.0.0.1:50051", house.target).replace("127.0.0.1:9464", f"127.0.0.1:{house.metrics_port}")


def skeleton(text: str) -> str:
    """A printed message without white space and with every number as N."""
    return re.sub(r"\d+(\.\d+)?", "N", re.sub(r"\s+", "", text))


def exists(module: str, words: str) -> bool:
    """Whether `python -m module words` names a program and, where it is ours to ask, its commands and options."""
    if module in {"server", "training"}:
        command: Any = typer.main.get_command(server_app if module == "server" else training_app)
        for word in words.split():
            if word.startswith("--"):
                if word not in {option for parameter in command.params for option in parameter.opts}:
                    return False
            elif commands := getattr(command, "commands", None):  # a group; other words are arguments
                if word not in commands:
                    return False
                command = commands[word]
        return True
    found = importlib.util.find_spec(module)
    return found is not None and (
        found.submodule_search_locations is None or importlib.util.find_spec(f"{module}.__main__") is not None
    )
