import numpy as np
import pytest
from google.protobuf.descriptor import Descriptor
from hypothesis import given
from hypothesis import strategies as st

from methods.features import Feature, FeatureSchema, Kind, encode_columns, schema_of
from paedsresus.ml.v1 import common_pb2, revenue_pb2

CHURN = revenue_pb2.PredictChurnFeatures.DESCRIPTOR
SCHEMA = FeatureSchema(
    message="test",
    features=(
        Feature(name="days", kind=Kind.COUNT, unit="days"),
        Feature(name="plan", kind=Kind.CATEGORY, levels=("MONTHLY", "ANNUAL")),
        Feature(name="renews", kind=Kind.FLAG),
    ),
)


def test_the_schema_has_the_fields_of_the_message_in_order() -> None:
    assert schema_of(CHURN).names == tuple(field.name for field in CHURN.fields)


@pytest.mark.parametrize(
    ("name", "kind", "unit"),
    [
        ("plan", Kind.CATEGORY, "1"),
        ("tenure_days", Kind.COUNT, "days"),
        ("renewal_time", Kind.TIME, "days from as_of_time"),
        ("price", Kind.MONEY, "minor units of the currency"),
        ("minutes_28d", Kind.NUMBER, "minutes"),
        ("auto_renew", Kind.FLAG, "1"),
    ],
)
def test_kind_and_unit_come_from_the_contract(name: str, kind: Kind, unit: str) -> None:
    feature = next(feature for feature in schema_of(CHURN).features if feature.name == name)

    assert (feature.kind, feature.unit) == (kind, unit)


def test_levels_lack_prefix_and_unspecified() -> None:
    plan = schema_of(CHURN).features[0]

    assert plan.levels == ("MONTHLY", "QUARTERLY", "ANNUAL", "INSTITUTION")


@pytest.mark.parametrize(
    "descriptor",
    [
        pytest.param(common_pb2.RequestContext.DESCRIPTOR, id="text"),
        pytest.param(common_pb2.AnswerInfo.DESCRIPTOR, id="repeated"),
        pytest.param(revenue_pb2.PredictChurnResponse.DESCRIPTOR, id="another message"),
    ],
)
def test_a_message_with_other_fields_is_refused(descriptor: Descriptor) -> None:
    with pytest.raises(ValueError, match="is no feature"):
        schema_of(descriptor)


def test_a_subset_keeps_the_order_and_refuses_unknown_names() -> None:
    assert SCHEMA.subset(["renews", "days"]).names == ("days", "renews")
    with pytest.raises(ValueError, match="no field price"):
        SCHEMA.subset(["price"])


def test_a_schema_survives_json_and_keeps_its_digest() -> None:
    schema = schema_of(CHURN)

    again = FeatureSchema.from_json(schema.to_json())

    assert again == schema
    assert again.digest() == schema.digest()


def test_the_digest_changes_with_any_part() -> None:
    other = FeatureSchema(message="test", features=(Feature(name="days", kind=Kind.COUNT, unit="weeks"),))

    assert len({SCHEMA.digest(), other.digest(), SCHEMA.subset(["days"]).digest()}) == 3


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(None, id="nothing"),
        pytest.param({"message": "m"}, id="no features"),
        pytest.param(
            {"message": "m", "features": [{"name": "a", "kind": "colour", "unit": "1", "levels": []}]}, id="kind"
        ),
        pytest.param({"message": "m", "features": [{"name": 1, "kind": "flag", "unit": "1", "levels": []}]}, id="name"),
        pytest.param({"message": "m", "features": [SCHEMA.to_json()["features"][0]] * 2}, id="twice"),
    ],
)
def test_json_that_is_no_schema_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"schema|colour"):
        FeatureSchema.from_json(value)


def test_missing_is_nan_in_every_column_of_the_field() -> None:
    rows = {
        "days": np.array([3.0, np.nan]),
        "plan": np.array(["ANNUAL", None], dtype=object),
        "renews": np.array([1.0, np.nan]),
    }

    matrix = encode_columns(SCHEMA, rows)

    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix, [[3, 0, 1, 1], [np.nan] * 4])


def test_enum_numbers_and_level_names_give_the_same_columns() -> None:
    schema = SCHEMA.subset(["plan"])
    names = np.array(["MONTHLY", "ANNUAL", None, "WEEKLY"], dtype=object)

    by_name = encode_columns(schema, {"plan": names})
    by_number = encode_columns(schema, {"plan": np.array([1, 2, 0, 9])})

    np.testing.assert_array_equal(by_name, by_number)


def test_a_field_without_its_column_or_with_another_length_is_named() -> None:
    with pytest.raises(ValueError, match="no column for field plan"):
        encode_columns(SCHEMA, {"days": np.zeros(2)})
    with pytest.raises(ValueError, match="field renews has shape"):
        encode_columns(SCHEMA, {"days": np.zeros(2), "plan": np.ones(2), "renews": np.zeros(3)})


@given(st.lists(st.sampled_from(["MONTHLY", "ANNUAL", None]), min_size=1, max_size=20))
def test_encoding_a_batch_equals_encoding_its_rows(plans: list[str | None]) -> None:
    schema = SCHEMA.subset(["plan"])
    column = np.array(plans, dtype=object)

    whole = encode_columns(schema, {"plan": column})
    single = [encode_columns(schema, {"plan": column[i : i + 1]})[0] for i in range(len(plans))]

    np.testing.assert_array_equal(whole, single)
