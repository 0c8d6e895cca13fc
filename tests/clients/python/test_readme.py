"""Every Python block of the package's README runs against a server, in the order it stands there."""

import re
from pathlib import Path

import pytest

from paedsresus.ml import Client
from tests.clients.python.conftest import World

_BLOCKS = re.findall(r"```python\n(.*?)```", Path("clients/python/README.md").read_text(), re.DOTALL)


def test_every_block_runs(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    with Client(world.target) as client:
        known: dict[str, object] = {"client": client, "root_certificates": None, "key": None, "certificate": None}
        for block in _BLOCKS:
            inside = block.replace("127.0.0.1:50051", world.target)
            kept = known["client"]
            exec(compile(inside, "README.md", "exec"), known)  # noqa: S102 - the README is ours
            known["client"] = kept

    assert len(_BLOCKS) == 5
    assert "0.028" in capsys.readouterr().out
