"""Calls on one channel of grpcio, as standard input says: see ../libraries.py."""

from __future__ import annotations

import json
import sys
import threading

import grpc

writing = threading.Lock()


def tell(**answer):
    with writing:
        print(json.dumps(answer), flush=True)


def follow(number, call, *, stream):
    """Tell what comes, and how it ends."""
    try:
        for _ in call if stream else ():
            tell(id=number, came=True)
        code, details = call.code(), call.details()
    except grpc.RpcError as error:
        code, details = error.code(), error.details()
    tell(id=number, code=code.value[0], details=details)


def main():
    target, config, keepalive = sys.argv[1:]
    options = [("grpc.service_config", config)]
    if int(keepalive):
        options += [
            ("grpc.keepalive_time_ms", int(keepalive)),  # type: ignore[list-item]
            ("grpc.keepalive_permit_without_calls", 1),  # type: ignore[list-item]
            ("grpc.http2.max_pings_without_data", 0),  # type: ignore[list-item]
        ]
    calls = {}  # type: ignore[var-annotated]
    with grpc.insecure_channel(target, options) as channel:
        for line in sys.stdin:
            asked = json.loads(line)
            number, stream = asked["id"], asked.get("stream")
            if asked.get("cancel"):
                calls[number].cancel()
                continue
            how = {"metadata": tuple(asked["metadata"].items()), "timeout": asked["deadline"]}
            if stream:
                call = channel.stream_stream(asked["path"])(endless(), **how)  # type: ignore[var-annotated]
            else:
                call = channel.unary_unary(asked["path"]).future(b"", **how)  # type: ignore[arg-type, assignment]
            calls[number] = call
            threading.Thread(
                target=follow, args=(number, call), kwargs={"stream": stream}, daemon=True
            ).start()


def endless():
    yield b""
    threading.Event().wait()


if __name__ == "__main__":
    main()
