import uvloop
from asyncio_client import talk
from conftest import HOST
from libraries.peers import DATA, echo_once, serving, start_tls
from libraries.test_asyncio import upgrade
from libraries.trial import Trial, case


@case("uvloop", "`open_connection`", "as asyncio")
def test_uvloop(trial: Trial) -> None:
    with serving(trial.foreign, echo_once) as server:

        def connect() -> None:
            assert uvloop.run(talk(trial.context, HOST, server.port, DATA)) == DATA

        trial.check(connect, server.reused)


@case("uvloop", "`writer.start_tls`", "as asyncio")
def test_uvloop_start_tls(trial: Trial) -> None:
    with serving(trial.foreign, start_tls) as server:
        trial.check(lambda: uvloop.run(upgrade(trial, server.port)), server.reused)
