import poplib

from conftest import HOST
from libraries.mailboxes import MESSAGE, pop3, pop3_starttls
from libraries.peers import serving
from libraries.trial import Trial, case


def fetch(client: poplib.POP3) -> None:
    client.user("user")
    client.pass_("12345")
    _, lines, _ = client.retr(1)
    assert b"\r\n".join([*lines, b""]) == MESSAGE
    client.quit()


@case("poplib", "`POP3_SSL`", "`POP3_SSL(context=ctx)`")
def test_pop3_ssl(trial: Trial) -> None:
    with serving(trial.foreign, pop3) as server:
        trial.check(
            lambda: fetch(poplib.POP3_SSL(HOST, server.port, context=trial.context, timeout=10)),
            server.reused,
        )


@case("poplib", "`POP3.stls`", "`client.stls(context=ctx)`")
def test_stls(trial: Trial) -> None:
    with serving(trial.foreign, pop3_starttls) as server:

        def connect() -> None:
            client = poplib.POP3(HOST, server.port, timeout=10)
            client.stls(context=trial.context)
            fetch(client)

        trial.check(connect, server.reused)
