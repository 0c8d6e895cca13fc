import pytest
from hypothesis import given
from hypothesis import strategies as st

from methods.statistics.bands import Band, parse_band, sigmoid

BAND = Band(logits=(-1.0, 0.0, 2.0), lowers=(-0.3, -0.1, -0.5), uppers=(0.2, 0.1, 0.4))


@given(st.floats(min_value=-800, max_value=800))
def test_the_interval_contains_the_probability(logit: float) -> None:
    value, lower, upper = BAND.probability(logit)

    assert 0 <= lower <= value <= upper <= 1


@given(st.floats(min_value=-700, max_value=700))
def test_a_probability_and_its_opposite_add_to_one(logit: float) -> None:
    assert sigmoid(logit) + sigmoid(-logit) == pytest.approx(1.0)


def test_shifts_are_linear_between_knots_and_constant_beyond() -> None:
    assert BAND.shifts(-5.0) == (-0.3, 0.2)
    assert BAND.shifts(1.0) == pytest.approx((-0.3, 0.25))
    assert BAND.shifts(9.0) == (-0.5, 0.4)


def test_without_knots_there_is_no_interval() -> None:
    value, lower, upper = Band().probability(0.7)

    assert lower == value == upper


def test_a_band_survives_json() -> None:
    assert parse_band(BAND.to_json()) == BAND


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"logits": [1.0, 1.0, 2.0]}, r"band\.logits"),
        ({"logits": "x"}, r"band\.logits"),
        ({"lowers": [0.1, 0.0, 0.0]}, r"band\.lowers"),
        ({"uppers": [0.1, 0.0]}, r"band\.uppers"),
        ({"uppers": [-0.1, 0.0, 0.0]}, r"band\.uppers"),
        ({"level": 1.0}, r"band\.level"),
        ({"level": None}, r"band\.level"),
    ],
)
def test_a_band_that_is_none_is_refused_by_field(change: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        parse_band({**BAND.to_json(), **change})


def test_a_band_that_is_no_object_is_refused() -> None:
    with pytest.raises(ValueError, match="band"):
        parse_band([1])
