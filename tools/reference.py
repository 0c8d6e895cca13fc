"""Reference pages made from code: `python -m tools.reference PAGE` writes one, `--check` only says whether it is true.

A page is a pure function to Markdown; this file finds where it goes. Pages: settings.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from server.settings import Entry, settings_entries

ROOT = Path(__file__).parent.parent


def settings_page() -> str:
    """Table of every setting of the server."""
    rows = "".join(_settings_row(entry) for entry in settings_entries())
    return f"""# Settings

Every setting of the server, made from `server/settings.py` by `python -m tools.reference settings`; do not edit.

A setting is an environment variable, read once at start. Absent or empty keeps the default. A wrong value, or an
unknown name that begins with `PAEDSRESUS_`, stops the start with a message that names the field, what was wrong and
what is allowed. The two names `PAEDSRESUS_SLOT` and `PAEDSRESUS_BOOT` are set by the supervisor for its children.

| Variable | Type, unit | Default | Allowed | Meaning |
|---|---|---|---|---|
{rows}"""


PAGES: Mapping[str, Callable[[], str]] = {"settings": settings_page}


def main(arguments: list[str]) -> int:
    """Write or check the pages named; exit code 1 when a checked page is not what the code says."""
    parser = argparse.ArgumentParser(prog="python -m tools.reference", description=main.__doc__)
    parser.add_argument("pages", nargs="*", metavar=f"PAGE ({', '.join(PAGES)}; none = all)")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a page differs")
    options = parser.parse_args(arguments)
    stale = 0
    for page in options.pages or PAGES:
        path, text = ROOT / "docs" / "reference" / f"{page}.md", PAGES[page]()
        if options.check:
            stale += _is_stale(path, page, text)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return 1 if stale else 0


def _settings_row(entry: Entry) -> str:
    rule = entry.rule
    kind = "text" if entry.kind is str else "number" if entry.kind is float else entry.kind.__name__.lower()
    kind = {"int": "whole number", "bool": "flag", "path": "path"}.get(kind, kind)
    unit = "" if rule.unit in ("path", "word", "true or false") else f", {rule.unit}"
    allowed = ", ".join(rule.choices) or ("true, false" if entry.kind is bool else "")
    if rule.least is not None and rule.most is not None:
        allowed = f"{rule.least:,} to {rule.most:,}"
    default = f"`{entry.default}`" if entry.default else "unset"
    return f"| `{entry.variable}` | {kind}{unit} | {default} | {allowed or 'any'} | {rule.about} |\n"


def _is_stale(path: Path, page: str, text: str) -> bool:
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    print(
        f"docs/reference/{page}.md is not what the code says; run `python -m tools.reference {page}`", file=sys.stderr
    )
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
