"""asyncio streams, on its own loop or on uvloop, in the way asked for."""

import asyncio
import ssl
from pathlib import Path

from server_context import make_context, port, words
from server_echo import SIZE

loop, way, *files = words
if loop == "uvloop":
    import uvloop as runner
else:
    runner = asyncio


async def send_file(reader, writer):
    await reader.readline()
    with Path(files[0]).open("rb") as file:  # noqa: ASYNC230
        await asyncio.get_running_loop().sendfile(writer.transport, file)
    writer.close()


async def greet(reader, writer):
    print("client", dict(writer.get_extra_info("peercert")["subjectAltName"])["email"])
    await echo(reader, writer)


async def echo(reader, writer):
    writer.write(await reader.readexactly(SIZE))
    await writer.drain()
    await reader.read()  # until the client closes
    writer.close()


async def upgrade(reader, writer):
    await reader.readline()
    writer.write(b"OK\n")
    await writer.start_tls(context)
    await echo(reader, writer)


async def main():
    if way == "start_tls":
        server = await asyncio.start_server(upgrade, "127.0.0.1", port)
    else:
        serve = {"start_server": echo, "sendfile": send_file, "clients": greet}[way]
        server = await asyncio.start_server(serve, "127.0.0.1", port, ssl=context)
    async with server:
        print("listening")
        await server.serve_forever()


context = make_context()
if way == "clients":
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(files[0])
runner.run(main())
