"""asyncio's streams: python asyncio_client.py example.org 443 [trust.pem]

asyncio itself has no way to pass a session; the context remembers it.
"""

import asyncio
import ssl
import sys

import gnutls_resume


async def talk(context: ssl.SSLContext, host: str, port: int, request: bytes) -> bytes:
    """Send a request, and read until the server closes."""
    reader, writer = await asyncio.open_connection(host, port, ssl=context)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


if __name__ == "__main__":
    host, port, *trust = sys.argv[1:]
    context = gnutls_resume.create_default_context(
        cafile=next(iter(trust), None), on_handshake=print
    )
    request = f"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n".encode()
    for _ in range(2):
        print(len(asyncio.run(talk(context, host, int(port), request))), "bytes")
