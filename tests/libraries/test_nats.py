import asyncio

import nats
import pytest
from conftest import HOST, Certificates
from libraries.daemons import nats_server
from libraries.peers import DATA
from libraries.trial import Trial, case


# Sessions of TLS 1.2 are remembered only with RFC 7627's extended master secret, which a server
# built with Go 1.20 or older does not know.
@pytest.mark.parametrize("trial", ["TLSv1.3"], indirect=True)
@case(
    "nats-py",
    "`connect`, to nats-server",
    "`connect(url, tls=ctx)`; over TLS 1.2 if the server was built with Go 1.21 or later",
)
def test_nats(trial: Trial, certificates: Certificates) -> None:
    trial.restrict()

    async def connect() -> None:
        client = await nats.connect(f"tls://{HOST}:{port}", tls=trial.context)
        subscription = await client.subscribe("subject")
        await client.publish("subject", DATA)
        assert (await subscription.next_msg(10)).data == DATA
        await client.close()

    with nats_server(certificates) as port:
        trial.check(lambda: asyncio.run(connect()))
