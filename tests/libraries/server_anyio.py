"""anyio's TLSListener, on asyncio or on trio."""

import anyio
from anyio.streams.tls import TLSListener
from server_context import make_context, port, words
from server_echo import SIZE


async def echo(stream):
    async with stream:
        data = b""
        async for part in stream:
            data += part
            if len(data) == SIZE:
                await stream.send(data)


async def main():
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
    print("listening")
    await TLSListener(listener, make_context(), standard_compatible=False).serve(echo)


anyio.run(main, backend=words[0])
