import imaplib

from conftest import HOST
from libraries.mailboxes import MESSAGE, imap, imap_starttls
from libraries.peers import serving
from libraries.trial import Trial, case


def fetch(client: imaplib.IMAP4) -> None:
    client.login("user", "12345")
    client.select()
    status, [(_, message), _] = client.fetch("1", "(BODY[])")
    assert (status, message) == ("OK", MESSAGE)


@case("imaplib", "`IMAP4_SSL`", "`IMAP4_SSL(ssl_context=ctx)`")
def test_imap4_ssl(trial: Trial) -> None:
    with serving(trial.foreign, imap) as server:

        def connect() -> None:
            with imaplib.IMAP4_SSL(
                HOST, server.port, ssl_context=trial.context, timeout=10
            ) as client:
                fetch(client)

        trial.check(connect, server.reused)


@case("imaplib", "`IMAP4.starttls`", "`client.starttls(ssl_context=ctx)`")
def test_starttls(trial: Trial) -> None:
    with serving(trial.foreign, imap_starttls) as server:

        def connect() -> None:
            with imaplib.IMAP4(HOST, server.port, timeout=10) as client:
                client.starttls(ssl_context=trial.context)
                fetch(client)

        trial.check(connect, server.reused)
