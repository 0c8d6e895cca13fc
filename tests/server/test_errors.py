"""The tree of errors and the contract's list of reasons are one list."""

import pytest

from paedsresus.ml.v1 import common_pb2
from server.errors import FieldViolation, InvalidField, Overloaded, Reason, ServingError


def test_reasons_are_those_of_the_contract() -> None:
    contract = {name.removeprefix("ERROR_REASON_") for name in common_pb2.ErrorReason.keys()}  # noqa: SIM118 - an enum wrapper

    assert {reason.value for reason in Reason} == contract - {"UNSPECIFIED"}


def test_every_reason_but_the_unforeseen_has_one_class() -> None:
    def leaves(cls: type[ServingError]) -> list[type[ServingError]]:
        below = [leaf for child in cls.__subclasses__() for leaf in leaves(child)]
        return below or [cls]

    reasons = [leaf("what, where, what to do").reason for leaf in leaves(ServingError)]  # type: ignore[arg-type, call-arg]

    assert sorted(reasons) == sorted(set(Reason) - {Reason.INTERNAL})


def test_an_error_that_may_pass_says_when_to_ask_again() -> None:
    error = Overloaded("512 calls are in flight; ask again later", metadata={"limit": "512"})

    assert error.retry_after_seconds == pytest.approx(0.1)
    assert error.metadata == {"limit": "512"}


def test_a_field_that_breaks_a_rule_stands_in_the_metadata() -> None:
    violations = [FieldViolation(field=name, description="two overlap") for name in ("slots", "a")]

    error = InvalidField("slots: two slots overlap", metadata={"zone": "UTC"}, field_violations=violations)

    assert error.metadata == {"field": "slots", "zone": "UTC"}
