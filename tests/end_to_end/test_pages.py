"""What a method's page tells a reader to ask is asked of a server, as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.end_to_end.house import House, wait_until
from training.models import MODELS

ROOT = Path(__file__).parents[2]
ASKED = {
    page.stem: block
    for page in sorted((ROOT / "docs/methods").glob("*.md"))
    for block in re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    if "Client(" in block
}
ANSWERED = {  # a word of each answer
    "adjust_difficulty": r"ability -?\d\.\d\d \(-?\d\.\d\d to \d\.\d\d\) logits\nblock: right with \d+%",
    "calculate_ltv": r"\d+\.\d\d USD within 12 months\n\d+\.\d\d to \d+\.\d\d with 90%",
    "calculate_optimal_price": r"minor units of USD: it is the best price|for now: it is the best price",
    "generate_path": r"1 drill It should raise your chance of knowing cpr from \d+% to \d+%",
    "optimize_payment_flow": r"Try route [AB] first: it succeeds with about \d+%",
    "optimize_schedule": r"compressions-1: \d+% recalled at the exam \(\d+% to \d+%\)\nnever practised",
    "predict_certification_success": r"passes with \d+% \(\d+% to \d+%\)\nknowing rhythms-1 would add \d",
    "predict_churn": r"leaves within 90 days: \d+\.\d% \(\d+\.\d% to \d+\.\d%\)\nby decision",
    "recommend_next_lesson": r"here with probability 0\.\d\d\. It teaches (rhythms|shock)-1, which you know",
    "recommend_upsell": r"ANNUAL_UPGRADE \d 0\.\d\d Nobody knows|ANNUAL_UPGRADE \d 0\.\d\d Shown by chance",
}

pytestmark = [
    pytest.mark.filterwarnings("default"),  # MLflow and its libraries warn of themselves
    pytest.mark.end_to_end,
    pytest.mark.timeout(300),
]


def test_every_page_s_question_is_answered(serving: House, capsys: pytest.CaptureFixture[str]) -> None:
    for model in MODELS:
        wait_until(
            lambda name=model: serving.version_tag(1, "serving.state", name), seconds=60, what=f"a verdict on {model}"
        )  # type: ignore[misc]

    said = {}
    for name, block in ASKED.items():
        assert "127.0.0.1:50051" in block, name
        exec(  # noqa: S102 - the pages are ours
            compile(block.replace("127.0.0.1:50051", serving.target), f"{name}.md", "exec"), {"__name__": name}
        )
        said[name] = capsys.readouterr().out

    assert set(ANSWERED) <= set(said)
    for name, words in ANSWERED.items():
        assert re.search(words, said[name]), (name, said[name])
