"""What importing loads, and what is public."""

import os
import subprocess
import sys

import pytest

import paedsresus.ml


def _loaded_by(statement: str) -> set[str]:
    code = f"import sys; sys.path.insert(0, 'clients/python/src'); {statement}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_importing_the_package_loads_neither_grpc_nor_protobuf() -> None:
    assert not {"grpc", "google.protobuf"} & _loaded_by("import paedsresus.ml")


@pytest.mark.parametrize("module", ["common", "feedback", "impact", "kaizen", "learning", "orchestration", "revenue"])
def test_importing_messages_loads_no_grpc(module: str) -> None:
    assert "grpc" not in _loaded_by(f"import paedsresus.ml.v1.{module}_pb2")


def test_importing_errors_and_rows_loads_no_grpc() -> None:
    assert "grpc" not in _loaded_by("import paedsresus.ml.errors, paedsresus.ml.rows")


def test_what_is_listed_is_what_is_there() -> None:
    for name in paedsresus.ml.__all__:
        assert getattr(paedsresus.ml, name).__name__ == name
    assert set(paedsresus.ml.__all__) <= set(dir(paedsresus.ml))


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nope'"):
        _ = paedsresus.ml.Nope


def test_the_methods_are_what_the_protos_give() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "tools.client_methods", "--check"],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(["clients/python/src", "."])},
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr
