"""What protoc is given comes from installed packages; an upgrade that moves it fails here."""

from tools.proto.compiler import VALIDATE_PROTO, dependencies


def test_the_rules_of_protovalidate_are_found_in_its_wheel() -> None:
    files = {file.name: file for file in dependencies().file}

    assert VALIDATE_PROTO in files
    assert {extension.name for extension in files[VALIDATE_PROTO].extension} >= {"field", "message", "oneof"}


def test_every_import_stands_before_the_file_that_needs_it() -> None:
    seen: set[str] = set()
    for file in dependencies().file:
        assert set(file.dependency) <= seen | {"google/protobuf/descriptor.proto"}, file.name
        seen.add(file.name)
