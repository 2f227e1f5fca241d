"""httpx: python httpx_client.py https://example.org/ [trust.pem]"""

import asyncio
import ssl
import sys

import httpx

import gnutls_resume


def get(context: ssl.SSLContext, url: str) -> httpx.Response:
    with httpx.Client(verify=context) as client:
        return client.get(url)


async def get_async(context: ssl.SSLContext, url: str) -> httpx.Response:
    async with httpx.AsyncClient(verify=context) as client:
        return await client.get(url)


if __name__ == "__main__":
    url, *trust = sys.argv[1:]
    context = gnutls_resume.create_default_context(
        cafile=next(iter(trust), None), on_handshake=print
    )
    print(get(context, url).status_code)
    print(asyncio.run(get_async(context, url)).status_code)
