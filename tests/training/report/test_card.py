from methods.features import Feature, FeatureSchema, Kind
from training.evaluate import Scores
from training.gates import Gate
from training.report.card import Card, render_card

SCORES = Scores(auc=0.7613, log_loss=0.1122, brier=0.0255, ece=0.0046, lift_top_decile=3.37)
CARD = Card(
    title="churn",
    purpose=("Who is likely to leave.",),
    facts={"data": "a | b"},
    scores={"new version": SCORES},
    slices={
        "plan": {"MONTHLY": {"rows": 1_234.0, "observed": 0.25}, "ANNUAL": {"rows": 2.0, "observed": float("nan")}}
    },
    folds={},
    gates=(Gate(name="calibrated", passed=False, reason="0.05 (allowed 0.02)"),),
    schema=FeatureSchema(message="m", features=(Feature(name="tenure_days", kind=Kind.COUNT, unit="days"),)),
    limits=("It is no cause.",),
)


def test_the_card_has_every_figure() -> None:
    page = render_card(CARD)

    assert "| new version | 0.7613 | 0.1122 | 0.0255 | 0.0046 | 3.37 |" in page
    assert "| calibrated | **failed** | 0.05 (allowed 0.02) |" in page
    assert "| `tenure_days` | count | days |" in page
    assert "- It is no cause." in page


def test_slices_are_tables_with_counts_and_without_what_is_no_number() -> None:
    page = render_card(CARD)

    assert "## By plan" in page
    assert "| plan | rows | observed |" in page
    assert "| MONTHLY | 1,234 | 0.2500 |" in page
    assert "| ANNUAL | 2 |  |" in page


def test_a_bar_in_a_value_does_not_break_the_table() -> None:
    assert "| data | a \\| b |" in render_card(CARD)


def test_a_card_without_folds_says_so() -> None:
    assert "Too few leavers" in render_card(CARD)
