from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.load.bodies import read_bodies, write_bodies


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bodies=st.lists(st.binary(max_size=300), max_size=20))
def test_messages_come_back_as_they_were(tmp_path: Path, bodies: list[bytes]) -> None:
    write_bodies(tmp_path / "bodies", bodies)

    assert read_bodies(tmp_path / "bodies") == bodies


def test_a_torn_file_is_refused(tmp_path: Path) -> None:
    write_bodies(tmp_path / "bodies", [b"12345"])
    (tmp_path / "bodies").write_bytes((tmp_path / "bodies").read_bytes()[:-1])

    with pytest.raises(ValueError, match="inside message 0"):
        read_bodies(tmp_path / "bodies")
