"""Slices grow and shrink with what they take, within limits."""

import pytest

from server.serving.pace import ROWS_LEAST, ROWS_MOST, SLICE_SECONDS, Pace


@pytest.mark.parametrize("seconds_a_row", [1e-7, 2e-6, 6e-6, 1e-3])
def test_slices_come_to_last_as_long_as_they_may(seconds_a_row: float) -> None:
    pace = Pace()

    for _ in range(60):
        pace.took(pace.rows(), pace.rows() * seconds_a_row)

    wanted = min(max(SLICE_SECONDS / seconds_a_row, ROWS_LEAST), ROWS_MOST)
    assert pace.rows() == pytest.approx(wanted, rel=0.05)


def test_one_pause_of_the_machine_is_forgotten() -> None:
    pace = Pace()
    for _ in range(60):
        pace.took(250, 250 * 6e-6)
    before = pace.rows()

    pace.took(250, 0.05)
    assert pace.rows() < before
    for _ in range(30):
        pace.took(250, 250 * 6e-6)

    assert pace.rows() == pytest.approx(before, rel=0.1)


def test_a_few_rows_say_nothing() -> None:
    pace = Pace()
    before = pace.rows()

    pace.took(1, 1.0)

    assert pace.rows() == before
