"""protoc with everything our protos import, taken from installed packages: no third-party proto in the tree.

Descriptors of google.* come from their generated modules, those of buf.validate from the protovalidate wheel.
Not here: what is generated and where it lands (generate.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from google.longrunning import operations_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, field_mask_pb2, struct_pb2, timestamp_pb2
from google.protobuf.descriptor import FileDescriptor
from google.rpc import error_details_pb2, status_pb2
from grpc_tools import protoc

# The wheel's module name is private: tests/tools pins it, so that an upgrade fails there and not in a release.
from protovalidate._gen.buf.validate import validate_pb

VALIDATE_PROTO = "buf/validate/validate.proto"
_IMPORTED = (
    descriptor_pb2,
    duration_pb2,
    field_mask_pb2,
    struct_pb2,
    timestamp_pb2,
    status_pb2,
    error_details_pb2,
    operations_pb2,
)


def dependencies() -> descriptor_pb2.FileDescriptorSet:
    """Every file that our protos may import, each after those it imports itself."""
    files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    for module in _IMPORTED:
        _collect(module.DESCRIPTOR, files)
    files[VALIDATE_PROTO] = descriptor_pb2.FileDescriptorProto.FromString(validate_pb.desc().proto.to_binary())
    return descriptor_pb2.FileDescriptorSet(file=files.values())


def _collect(file: FileDescriptor, into: dict[str, descriptor_pb2.FileDescriptorProto]) -> None:
    if file.name in into:
        return
    for imported in file.dependencies:
        _collect(imported, into)
    proto = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(proto)
    into[file.name] = proto


def run_protoc(build: Path, protos: Path, arguments: Sequence[str], files: Sequence[str]) -> None:
    """Run protoc over `files` (paths below `protos`).

    Raises: RuntimeError: protoc refused; it has printed why.
    """
    build.mkdir(parents=True, exist_ok=True)
    known = build / "dependencies.binpb"
    known.write_bytes(dependencies().SerializeToString())
    code = protoc.main(["protoc", f"--descriptor_set_in={known}", f"-I{protos}", *arguments, *files])
    if code:
        raise RuntimeError(f"protoc refused {', '.join(files)} (exit {code}); see the lines above")


def compile_descriptors(
    build: Path, protos: Path, files: Sequence[str], *, output: Path
) -> descriptor_pool.DescriptorPool:
    """Compile `files` into an image at `output` (imports and comments included) and load it into a fresh pool."""
    run_protoc(build, protos, ["--include_imports", "--include_source_info", f"--descriptor_set_out={output}"], files)
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(output.read_bytes()).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool
