"""Everything in the contract has a comment above it, made of sentences."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.message import Message

from tools.proto.compiler import run_protoc
from tools.proto.sources import proto_files

SENTENCES = re.compile(r"[A-Z0-9`-].*(\.|\.\")", re.DOTALL)
PROTOS = Path(__file__).resolve().parents[2] / "protos"
# Where the parts of a file stand in its descriptor: (field's name, number) by message type.
PARTS = {
    descriptor_pb2.FileDescriptorProto: (("message_type", 4), ("enum_type", 5), ("service", 6), ("extension", 7)),
    descriptor_pb2.DescriptorProto: (("field", 2), ("nested_type", 3), ("enum_type", 4), ("oneof_decl", 8)),
    descriptor_pb2.EnumDescriptorProto: (("value", 2),),
    descriptor_pb2.ServiceDescriptorProto: (("method", 2),),
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> descriptor_pb2.FileDescriptorSet:
    build = tmp_path_factory.mktemp("proto")
    image = build / "image.binpb"
    run_protoc(build, PROTOS, ["--include_source_info", f"--descriptor_set_out={image}"], proto_files(PROTOS))
    return descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes())


def parts(of: Message, path: tuple[int, ...] = (), name: str = "") -> Iterator[tuple[tuple[int, ...], str]]:
    """Every part of a file with its path in the source info; the oneofs made for optional fields are left out."""
    for kind, number in PARTS.get(type(of), ()):  # a field, a value, a method has no parts
        for index, part in enumerate(getattr(of, kind)):
            if kind == "oneof_decl" and part.name.startswith("_"):
                continue
            where = (*path, number, index)
            yield where, f"{name}.{part.name}"
            yield from parts(part, where, f"{name}.{part.name}")


def comments(file: descriptor_pb2.FileDescriptorProto) -> dict[tuple[int, ...], str]:
    return {tuple(place.path): place.leading_comments.strip() for place in file.source_code_info.location}


def test_every_part_has_a_comment_above_it(sources: descriptor_pb2.FileDescriptorSet) -> None:
    silent = []
    for file in sources.file:
        said = comments(file)
        silent += [name for path, name in parts(file, name=file.name) if not said.get(path)]

    assert silent == []


def test_every_comment_is_made_of_sentences(sources: descriptor_pb2.FileDescriptorSet) -> None:
    loose = []
    for file in sources.file:
        said = comments(file)
        for path, name in parts(file, name=file.name):
            text = said.get(path, "")
            if not SENTENCES.fullmatch(text):
                loose.append((name, text))

    assert loose == []


def test_every_file_says_at_its_top_what_it_is(sources: descriptor_pb2.FileDescriptorSet) -> None:
    syntax = (12,)

    assert [file.name for file in sources.file if not comments(file).get(syntax)] == []
