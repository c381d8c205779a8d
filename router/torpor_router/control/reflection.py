"""Server reflection in both of its versions, whose messages are the same octets.

grpcio-reflection serves v1alpha alone, and some tools ask for v1 alone. The descriptor of v1 is
made of v1alpha's, so that tools can describe it too.
"""

from __future__ import annotations

from collections.abc import Iterable

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.reflection_pb2 import (
    DESCRIPTOR,
    ServerReflectionRequest,
    ServerReflectionResponse,
)

V1ALPHA = reflection.SERVICE_NAME
V1 = "grpc.reflection.v1.ServerReflection"
SERVICES = (V1, V1ALPHA)
_FILE = "grpc/reflection/v1/reflection.proto"


def enable(server: grpc.aio.Server, services: Iterable[str]) -> None:
    """Let `server` tell of `services`, which it serves, and of reflection itself."""
    pool = descriptor_pool.Default()
    _describe_v1(pool)
    named = (*services, *SERVICES)
    reflection.enable_server_reflection(named, server, pool)
    handler = grpc.stream_stream_rpc_method_handler(
        reflection.aio.ReflectionServicer(named, pool=pool).ServerReflectionInfo,
        request_deserializer=ServerReflectionRequest.FromString,
        response_serializer=ServerReflectionResponse.SerializeToString,
    )
    methods = {"ServerReflectionInfo": handler}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(V1, methods),))


def _describe_v1(pool: descriptor_pool.DescriptorPool) -> None:
    try:
        pool.FindFileByName(_FILE)
    except KeyError:
        file = FileDescriptorProto()
        DESCRIPTOR.CopyToProto(file)
        file.name, file.package = _FILE, "grpc.reflection.v1"
        for message in file.message_type:
            for field in message.field:
                if field.type_name:
                    field.type_name = _in_v1(field.type_name)
        for service in file.service:
            for method in service.method:
                method.input_type = _in_v1(method.input_type)
                method.output_type = _in_v1(method.output_type)
        pool.Add(file)


def _in_v1(name: str) -> str:
    return name.replace(".grpc.reflection.v1alpha.", ".grpc.reflection.v1.")
