import pg8000.native
from conftest import HOST
from libraries.peers import serving
from libraries.postgresql import postgresql
from libraries.trial import Trial, case

QUERY = f"SELECT '{100_000 * 'x'}'"


@case(
    "pg8000",
    "`Connection`, to a minimal server",
    "`ssl_context=ctx`; PostgreSQL itself never resumes",
)
def test_pg8000(trial: Trial) -> None:
    with serving(trial.foreign, postgresql) as server:

        def query() -> None:
            with pg8000.native.Connection(
                "user", HOST, "db", server.port, ssl_context=trial.context, timeout=10
            ) as connection:
                connection.run(QUERY)
                assert connection.row_count == len(QUERY)

        trial.check(query, server.reused)
