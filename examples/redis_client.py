"""redis-py: python redis_client.py redis.example.org 6379 [trust.pem]

redis-py makes a context of its own for every connection. These connection classes use ours:
name one as `connection_class`. redis-py's options for TLS then mean nothing.
"""

import asyncio
import ssl
import sys
from typing import Any

import redis
import redis.asyncio

import gnutls_resume


class ResumingConnection(redis.SSLConnection):
    def __init__(self, context: ssl.SSLContext, **options: Any) -> None:
        self.context = context
        super().__init__(**options)

    def _wrap_socket_with_ssl(self, sock: Any) -> Any:
        return self.context.wrap_socket(sock, server_hostname=self.host)


class AsyncResumingConnection(redis.asyncio.SSLConnection):
    def __init__(self, context: ssl.SSLContext, **options: Any) -> None:
        super().__init__(**options)
        self.ssl_context.context = context


def pool(context: ssl.SSLContext, host: str, port: int) -> redis.ConnectionPool:
    return redis.ConnectionPool(
        connection_class=ResumingConnection, context=context, host=host, port=port
    )


def async_pool(context: ssl.SSLContext, host: str, port: int) -> redis.asyncio.ConnectionPool:
    return redis.asyncio.ConnectionPool(
        connection_class=AsyncResumingConnection, context=context, host=host, port=port
    )


async def ping(context: ssl.SSLContext, host: str, port: int) -> bool:
    async with redis.asyncio.Redis.from_pool(async_pool(context, host, port)) as client:
        return bool(await client.ping())


if __name__ == "__main__":
    host, port, *trust = sys.argv[1:]
    context = gnutls_resume.create_default_context(
        cafile=next(iter(trust), None), on_handshake=print
    )
    with redis.Redis.from_pool(pool(context, host, int(port))) as client:
        print(client.ping())
    print(asyncio.run(ping(context, host, int(port))))
