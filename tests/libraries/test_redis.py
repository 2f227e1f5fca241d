import asyncio
from collections.abc import Iterator

import pytest
import redis
from conftest import HOST, Certificates
from libraries.daemons import redis_server
from libraries.peers import DATA
from libraries.trial import Trial, case
from redis_client import async_pool, pool


@pytest.fixture
def port(trial: Trial, certificates: Certificates) -> Iterator[int]:
    trial.restrict()
    with redis_server(certificates) as port:
        yield port


@case("redis", "`Redis`", "`connection_class=ResumingConnection`, redis_client.py")
def test_redis(trial: Trial, port: int) -> None:
    def connect() -> None:
        with redis.Redis.from_pool(pool(trial.context, HOST, port)) as client:
            assert client.set("key", DATA)
            assert client.get("key") == DATA

    trial.check(connect)


@case("redis", "`asyncio.Redis`", "`connection_class=AsyncResumingConnection`, redis_client.py")
def test_redis_async(trial: Trial, port: int) -> None:
    async def connect() -> None:
        async with redis.asyncio.Redis.from_pool(async_pool(trial.context, HOST, port)) as client:
            assert await client.set("key", DATA)
            assert await client.get("key") == DATA

    trial.check(lambda: asyncio.run(connect()))
