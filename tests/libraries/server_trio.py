"""trio.serve_ssl_over_tcp."""

from functools import partial

import trio
from server_context import make_context, port
from server_echo import SIZE


async def echo(stream):
    data = b""
    async for part in stream:
        data += part
        if len(data) == SIZE:
            await stream.send_all(data)


async def main():
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_ssl_over_tcp, host="127.0.0.1", https_compatible=True)
        await nursery.start(serve, echo, port, make_context())
        print("listening")


trio.run(main)
