import asyncio

import aiosmtplib
import pytest
from conftest import HOST
from libraries.smtp import MESSAGE, mailbox
from libraries.trial import Trial, case


@pytest.mark.parametrize("starttls", [True, False], ids=["starttls", "tls"])
@case("aiosmtplib", "STARTTLS and TLS", "`SMTP(tls_context=ctx)`")
def test_aiosmtplib(trial: Trial, *, starttls: bool) -> None:
    with mailbox(trial.foreign, starttls=starttls) as box:

        async def send() -> None:
            async with aiosmtplib.SMTP(
                hostname=HOST,
                port=box.port,
                timeout=10,
                start_tls=starttls,
                use_tls=not starttls,
                tls_context=trial.context,
            ) as smtp:
                await smtp.sendmail("a@example.org", ["b@example.org"], MESSAGE)
                transport = smtp.transport
            transport.abort()  # the library does not wait for its end, and the loop ends here

        trial.check(lambda: asyncio.run(send()), box.reused)
        assert box.messages == 2 * [MESSAGE.encode()]
