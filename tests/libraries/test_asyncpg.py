import asyncio

import asyncpg
from conftest import HOST
from libraries.peers import serving
from libraries.postgresql import postgresql
from libraries.trial import Trial, case

QUERY = f"SELECT '{100_000 * 'x'}'"


@case("asyncpg", "`connect`, to a minimal server", "`ssl=ctx`; PostgreSQL itself never resumes")
def test_asyncpg(trial: Trial) -> None:
    with serving(trial.foreign, postgresql) as server:

        async def query() -> None:
            connection = await asyncpg.connect(
                host=HOST, port=server.port, user="user", database="db", ssl=trial.context
            )
            assert await connection.execute(QUERY) == f"SELECT {len(QUERY)}"
            await connection.close()

        trial.check(lambda: asyncio.run(query()), server.reused)
