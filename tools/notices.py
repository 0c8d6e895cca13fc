"""`python -m tools.notices [--check]`: THIRD_PARTY_NOTICES.md from the locks and the installed packages' metadata.

GPL and AGPL among the runtime dependencies are refused: this product may be closed.
The page is the same on every platform: a package that this one does not install keeps the row it has, or the one here.
Not here: tools of development, which no image and no package carries.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_PAGE = _ROOT / "THIRD_PARTY_NOTICES.md"
GROUPS = ("worker", "heavy", "control", "train")  # each contains the one before

_PIN = re.compile(r"^([A-Za-z0-9_.-]+)==([^\s\\;]+)", re.MULTILINE)
_ROW = re.compile(r"^\| ([a-z0-9_.-]+) \| [^|]+ \| ([^|]+) \| [^|]+ \|$", re.MULTILINE)
# The lesser one (LGPL) may be linked: pywin32 carries such a part.
_COPYLEFT = re.compile(r"(?<!L)(?<!Lesser )\bA?GPL", re.IGNORECASE)

# Licences of packages that only some platforms install, from the metadata of their wheels.
_ELSEWHERE = {
    "colorama": "BSD-3-Clause",
    "gunicorn": "MIT",
    "protobuf-py-ext": "Apache-2.0",
    "pywin32": "PSF-2.0 AND LGPL-2.1-or-later",
    "uvloop": "MIT OR Apache-2.0",
    "waitress": "ZPL-2.1",
    "xgboost": "Apache-2.0",
    "xgboost-cpu": "Apache-2.0",
}
# Words of metadata -> SPDX. Where the words do not say which BSD it is, the licence's text decides.
_SPDX = {
    "apache 2.0": "Apache-2.0",
    "apache license v2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd 3-clause license": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
}
_IS_SPDX = re.compile(r"^[A-Za-z0-9.+-]*\d[A-Za-z0-9.+-]*$|^(MIT|ISC|Zlib)$")

_HEAD = """\
# Third-party notices

What Paeds Resus ML runs on, from the locks in `requirements/`. Made by `python -m tools.notices`; never edited by hand.

- *Needed by* is the smallest set of requirements that contains the package: `worker` answers requests, `heavy` is the
  compute process, `control` follows the registry, `train` fits models. Each contains the one before.
- The licence's text and the copyright notice stand in a package's `.dist-info` folder (a few only name the licence
  there); the images hold these folders. A binary package may carry further libraries; it lists them in the same place.
- Nothing of these packages is copied into this repository, with one exception:
  `clients/python/src/paedsresus/ml/_validate` is generated from `buf/validate/validate.proto` of protovalidate
  (Copyright 2023-2026 Buf Technologies, Inc., Apache-2.0).
- No package is under the GPL or AGPL; the check refuses one.

| Package | Version | Licence | Needed by |
|---|---|---|---|
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One row: a package, its locked versions (several where they differ by Python), its licence, its group."""

    package: str
    versions: tuple[str, ...]
    licence: str
    group: str


def locked(locks: Mapping[str, str]) -> dict[str, tuple[tuple[str, ...], str]]:
    """Package -> (locked versions, smallest group that contains it).

    >>> locked({"worker": "numpy==2.4.6", "heavy": "scipy==1.17.1"})
    {'numpy': (('2.4.6',), 'worker'), 'scipy': (('1.17.1',), 'heavy')}
    """
    found: dict[str, tuple[tuple[str, ...], str]] = {}
    for group, text in locks.items():
        versions: dict[str, list[str]] = {}
        for name, version in _PIN.findall(text):
            versions.setdefault(name.lower(), []).append(version)
        for name, of_group in versions.items():
            found.setdefault(name, (tuple(dict.fromkeys(of_group)), group))
    return dict(sorted(found.items()))


def licence_of(expression: str | None, field: str | None, classifiers: Iterable[str], text: str) -> str | None:
    """The licence as an SPDX expression, from the best that a package says; None when it says nothing usable.

    Args:
        expression: the metadata's License-Expression, which is SPDX already.
        field: its License, free text and sometimes a whole licence.
        classifiers: its trove classifiers.
        text: the licence file, "" when there is none.

    >>> licence_of(None, "BSD", [], "... Neither the name of the author ...")
    'BSD-3-Clause'
    """
    if expression:
        return expression
    words = (field or "").strip()
    if _IS_SPDX.match(words):
        return words
    if known := _SPDX.get(words.lower()):
        return known
    trove = {c.rsplit(" :: ", 1)[-1].lower() for c in classifiers if c.startswith("License :: ")}
    by_classifier = sorted({_SPDX[name] for name in trove if name in _SPDX})
    if "bsd license" in trove or words.lower().startswith("bsd"):
        by_classifier.append(_bsd(text))
    return " OR ".join(by_classifier) or _from_text(text)


def render(notices: Iterable[Notice]) -> str:
    """The page."""
    return _HEAD + "".join(f"| {n.package} | {', '.join(n.versions)} | {n.licence} | {n.group} |\n" for n in notices)


def copyleft(notices: Iterable[Notice]) -> list[str]:
    """Packages that this product may not carry.

    >>> copyleft([Notice(package="igraph", versions=("1.0.0",), licence="GPL-2.0-or-later", group="heavy")])
    ['igraph is GPL-2.0-or-later: not for this product']
    """
    return [f"{n.package} is {n.licence}: not for this product" for n in notices if _COPYLEFT.search(n.licence)]


def collect(locks: Mapping[str, str], page: str) -> list[Notice]:
    """A notice for every locked package.

    Raises: LookupError: names a package that says no licence, or that is neither installed, in `page`, nor known here.
    """
    kept = dict(_ROW.findall(page))
    notices = []
    for name, (versions, group) in locked(locks).items():
        licence = _installed_licence(name, versions) or _ELSEWHERE.get(name) or kept.get(name)
        if licence is None:
            raise LookupError(
                f"no licence found for {name}: install requirements/{group}.txt, or state it in _ELSEWHERE"
            )
        notices.append(Notice(package=name, versions=versions, licence=licence, group=group))
    return notices


def main() -> int:
    """Write the page, or with --check prove that it would not change; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.notices", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail when the page would change")
    check = parser.parse_args().check
    page = _PAGE.read_text() if _PAGE.exists() else ""
    locks = {group: (_ROOT / f"requirements/{group}.txt").read_text() for group in GROUPS}
    notices = collect(locks, page)
    problems = copyleft(notices)
    fresh = render(notices)
    if check and fresh != page:
        problems.append(f"{_PAGE.name} is not what the locks give; run python -m tools.notices")
    if not check:
        _PAGE.write_text(fresh)
    print("\n".join(problems) if problems else f"{len(notices)} packages, each with a licence this product may carry")
    return 1 if problems else 0


def _installed_licence(name: str, versions: tuple[str, ...]) -> str | None:
    if name in _ELSEWHERE:
        return None  # the same row on every platform, whether or not this one installs it
    try:
        package = distribution(name)
    except PackageNotFoundError:
        return None
    if package.version not in versions:
        return None
    expression, field, classifiers = (
        package.metadata.get_all(name) or [] for name in ("License-Expression", "License", "Classifier")
    )
    return licence_of(next(iter(expression), None), next(iter(field), None), classifiers, _licence_text(package))


def _licence_text(package: Distribution) -> str:
    files = [
        f for f in package.files or [] if ".dist-info/" in str(f) and f.name.upper().startswith(("LICEN", "COPYING"))
    ]
    return files[0].read_text() if files else ""


def _bsd(text: str) -> str:
    return (
        "BSD-3-Clause"
        if re.search(r"endorse\s+or\s+promote|neither\s+the\s+name", text, re.IGNORECASE)
        else "BSD-2-Clause"
    )


def _from_text(text: str) -> str | None:
    if "Permission is hereby granted, free of charge" in text:
        return "MIT"
    if "Apache License" in text:
        return "Apache-2.0"
    return _bsd(text) if "Redistribution and use in source and binary forms" in text else None


if __name__ == "__main__":
    sys.exit(main())
