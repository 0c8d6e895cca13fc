"""Addresses of registries and paths of the building machine are found, wherever they stand."""

from pathlib import Path

from tools.addresses import _ROOT, findings


def test_a_registry_and_a_path_of_this_machine_are_found() -> None:
    file = _ROOT / ".build/tests/addresses.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"fine\nhttps://files.{'python'}hosted.org/x\n{Path.home()}/secret\nmodels live in /usr/share\n")

    found = list(findings([file]))

    assert [line.split(":")[1] for line in found] == ["2", "3"]
