"""The server of websockets, on asyncio or with threads."""

import asyncio

import websockets.asyncio.server
import websockets.sync.server
from server_context import make_context, port, words


async def echo(connection):
    async for message in connection:
        await connection.send(message)


def echo_in_thread(connection):
    for message in connection:
        connection.send(message)


async def main():
    async with websockets.asyncio.server.serve(echo, "127.0.0.1", port, ssl=make_context()):
        print("listening")
        await asyncio.Event().wait()


if words[0] == "asyncio":
    asyncio.run(main())
else:
    with websockets.sync.server.serve(
        echo_in_thread, "127.0.0.1", port, ssl=make_context()
    ) as server:
        print("listening")
        server.serve_forever()
