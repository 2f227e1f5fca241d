"""aiohttp: python aiohttp_client.py https://example.org/ [trust.pem]"""

import asyncio
import ssl
import sys

import aiohttp

import gnutls_resume


async def get(context: ssl.SSLContext, url: str) -> bytes:
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector) as session, session.get(url) as response:
        page: bytes = await response.read()
        return page


if __name__ == "__main__":
    url, *trust = sys.argv[1:]
    context = gnutls_resume.create_default_context(
        cafile=next(iter(trust), None), on_handshake=print
    )
    for _ in range(2):
        print(len(asyncio.run(get(context, url))), "bytes")
