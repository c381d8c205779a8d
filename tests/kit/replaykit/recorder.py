"""Stands between a client and a worker, passes every octet on, and writes down what it was.

    python -m replaykit.recorder --listen 127.0.0.1:7000 --to 127.0.0.1:7001 --out FILE

from `tests/kit`, until SIGTERM or SIGINT. With `--certificate` and `--key` it speaks TLS on both
sides, as whom they name: the door's certificate to clients, a client's to the door (the two are one
file here, whose names and uses serve both).
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import ssl
from pathlib import Path

from replaykit.listener import Recorder, Side
from replaykit.recording import CLIENT, WORKER


async def record(
    recorder: Recorder,
    to: tuple[str, int],
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    context: ssl.SSLContext | None,
    name: str,
) -> None:
    """Pass one connection on, until either side ends it."""
    number = recorder.connection()
    recorder.note(CLIENT, number, 0, "open")
    there = await asyncio.open_connection(
        *to, ssl=context, server_hostname=name if context else None
    )

    async def passed(source: asyncio.StreamReader, sink: asyncio.StreamWriter, by: str) -> None:
        side = Side(recorder, number, by)
        try:
            while octets := await source.read(1 << 16):
                side.take(octets)
                sink.write(octets)
                await sink.drain()
        except OSError:  # cut; TLS may say so in other words
            pass
        recorder.note(by, number, 0, "close")
        sink.close()

    await asyncio.gather(passed(reader, there[1], CLIENT), passed(there[0], writer, WORKER))


async def _main(arguments: argparse.Namespace) -> None:
    recorder = Recorder()
    towards: ssl.SSLContext | None = None
    serving: ssl.SSLContext | None = None
    if arguments.certificate:
        towards = ssl.create_default_context(cafile=arguments.ca)
        towards.load_cert_chain(arguments.client_certificate, arguments.client_key)
        towards.set_alpn_protocols(["h2"])
        serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        serving.load_cert_chain(arguments.certificate, arguments.key)
        serving.set_alpn_protocols(["h2"])
    to_host, to_port = arguments.to.rsplit(":", 1)
    host, port = arguments.listen.rsplit(":", 1)
    server = await asyncio.start_server(
        lambda reader, writer: record(
            recorder, (to_host, int(to_port)), reader, writer, towards, arguments.name
        ),
        host,
        int(port),
        ssl=serving,
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with server:
        await stop.wait()
    recorder.recording.write(Path(arguments.out))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for option in ("--listen", "--to", "--out"):
        parser.add_argument(option, required=True)
    for option in ("--certificate", "--key", "--ca", "--client-certificate", "--client-key"):
        parser.add_argument(option, default="")
    parser.add_argument("--name", default="", help="TLS server name towards the worker or door")
    asyncio.run(_main(parser.parse_args()))


if __name__ == "__main__":
    main()
