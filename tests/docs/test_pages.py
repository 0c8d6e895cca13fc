"""What stands in hand-written pages is still there: links lead somewhere, the glossary says each word once."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
_LINK = re.compile(r"\]\((?!https?://|mailto:|#)([^)#\s]+)[^)]*\)")
_ROW = re.compile(r"^\| (?!Word |-)([^|]+) \|", re.MULTILINE)


@pytest.mark.parametrize("page", [pytest.param(page, id=page.relative_to(ROOT).as_posix()) for page in PAGES])
def test_every_link_leads_to_a_file(page: Path) -> None:
    dead = [link for link in _LINK.findall(page.read_text()) if not (page.parent / link).exists()]

    assert dead == []


def test_the_glossary_says_each_word_once_in_a_table() -> None:
    tables = re.split(r"^## ", (ROOT / "docs/glossary.md").read_text(), flags=re.MULTILINE)[1:]

    for table in tables:
        words = [word.strip() for row in _ROW.findall(table) for word in re.split(r"[;,]", row)]
        assert len(words) == len(set(words)), table.splitlines()[0]


def test_the_glossary_has_a_table_for_every_module() -> None:
    titles = set(re.findall(r"^## (\w+)$", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE))

    assert titles >= {"Kaizen", "Learning", "Referral", "Revenue", "Impact"}
