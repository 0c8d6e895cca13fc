"""Licences are read as SPDX from whatever a package says, and the page is the same on every platform."""

import pytest

from tools.notices import Notice, collect, copyleft, licence_of, locked, render

MIT_TEXT = "Copyright (c) 2017 Somebody\n\nPermission is hereby granted, free of charge, to any person"
BSD_TEXT = "Redistribution and use in source and binary forms, with or without modification"
ENDORSE = "Neither the name of the author\n may be used to endorse or promote products"


@pytest.mark.parametrize(
    ("expression", "field", "classifiers", "text", "expected"),
    [
        pytest.param("Apache-2.0 OR BSD-3-Clause", "Dual", [], "", "Apache-2.0 OR BSD-3-Clause", id="expression_wins"),
        pytest.param(None, "Apache License, Version 2.0", [], "", "Apache-2.0", id="words_of_the_field"),
        pytest.param(None, "MPL-2.0", ["License :: OSI Approved"], "", "MPL-2.0", id="field_is_spdx"),
        pytest.param(
            None,
            "A whole licence in the field",
            ["License :: OSI Approved :: BSD License"],
            BSD_TEXT + ENDORSE,
            "BSD-3-Clause",
            id="text_says_which_bsd",
        ),
        pytest.param(
            None, None, ["License :: OSI Approved :: BSD License"], BSD_TEXT, "BSD-2-Clause", id="two_clauses"
        ),
        pytest.param(None, None, [], MIT_TEXT, "MIT", id="text_alone"),
        pytest.param(None, "ask us", [], "All rights reserved.", None, id="nothing_usable"),
    ],
)
def test_a_licence_is_read_from_the_best_that_a_package_says(
    expression: str | None, field: str | None, classifiers: list[str], text: str, expected: str | None
) -> None:
    assert licence_of(expression, field, classifiers, text) == expected


def test_a_package_belongs_to_the_smallest_group_and_keeps_every_locked_version() -> None:
    worker = "numpy==2.4.6 \\\n    --hash=sha256:00\n"
    heavy = (
        worker + "networkx==3.6.1 ; python_full_version < '3.12' \\\nnetworkx==3.7 ; python_full_version >= '3.12'\n"
    )

    assert locked({"worker": worker, "heavy": heavy}) == {
        "networkx": (("3.6.1", "3.7"), "heavy"),
        "numpy": (("2.4.6",), "worker"),
    }


def test_a_package_of_another_platform_keeps_the_row_that_the_page_has() -> None:
    locks = {"worker": "no-such-package==1.0"}
    row = Notice(package="no-such-package", versions=("0.9",), licence="ISC", group="worker")

    assert collect(locks, render([row])) == [
        Notice(package="no-such-package", versions=("1.0",), licence="ISC", group="worker")
    ]


def test_a_package_without_a_licence_stops_the_page_by_name() -> None:
    with pytest.raises(LookupError, match="no licence found for no-such-package"):
        collect({"worker": "no-such-package==1.0"}, "")


@pytest.mark.parametrize("licence", ["GPL-2.0-or-later", "AGPL-3.0-only", "MIT AND GPL-3.0-only", "GPLv3"])
def test_strong_copyleft_is_refused(licence: str) -> None:
    assert copyleft([Notice(package="p", versions=("1",), licence=licence, group="worker")])


@pytest.mark.parametrize("licence", ["LGPL-2.1-or-later", "MPL-2.0", "BSD-3-Clause"])
def test_other_licences_are_taken(licence: str) -> None:
    assert copyleft([Notice(package="p", versions=("1",), licence=licence, group="worker")]) == []
