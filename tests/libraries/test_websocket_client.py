from contextlib import closing

import websocket
from conftest import HOST
from libraries.peers import DATA, serving
from libraries.trial import Trial, case
from libraries.ws import websocket_echo


@case("websocket-client", "`create_connection`", '`sslopt={"context": ctx}`')
def test_websocket_client(trial: Trial) -> None:
    with serving(trial.foreign, websocket_echo) as server:

        def connect() -> None:
            with closing(
                websocket.create_connection(
                    f"wss://{HOST}:{server.port}/", 10, sslopt={"context": trial.context}
                )
            ) as connection:
                assert connection.is_ssl()
                connection.send_binary(DATA)
                assert connection.recv() == DATA

        trial.check(connect, server.reused)
