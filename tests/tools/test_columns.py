"""The columns of a batch are made from the features, field by field."""

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

from paedsresus.ml.v1 import revenue_pb2
from tools.proto.columns import columns_message


def test_every_churn_feature_has_a_column_and_a_presence_bitmap() -> None:
    columns = {field.name for field in revenue_pb2.PredictChurnColumns.DESCRIPTOR.fields}

    for feature in revenue_pb2.PredictChurnFeatures.DESCRIPTOR.fields:
        suffix = {"Money": "_minor_units", "Timestamp": "_days"}.get(
            feature.message_type.name if feature.message_type else "", ""
        )
        assert feature.name + suffix in columns
        assert feature.name + "_present" in columns


def test_a_columns_number_depends_on_its_own_feature_only() -> None:
    columns = revenue_pb2.PredictChurnColumns.DESCRIPTOR.fields_by_name
    features = revenue_pb2.PredictChurnFeatures.DESCRIPTOR.fields_by_name

    assert columns["tenure_days"].number == 10 + 3 * (features["tenure_days"].number - 1)
    assert columns["invites_90d"].number == 10 + 3 * (features["invites_90d"].number - 1)


def test_a_repeated_feature_is_refused_by_name() -> None:
    file = FileDescriptorProto(name="made_up.proto", package="made_up", syntax="proto3")
    message = file.message_type.add(name="OddFeatures")
    message.field.add(
        name="scores", number=1, type=FieldDescriptorProto.TYPE_DOUBLE, label=FieldDescriptorProto.LABEL_REPEATED
    )
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())

    with pytest.raises(ValueError, match=r"made_up\.OddFeatures\.scores is repeated"):
        columns_message(pool.FindMessageTypeByName("made_up.OddFeatures"))
