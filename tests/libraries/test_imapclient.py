import imapclient
from conftest import HOST
from libraries.mailboxes import MESSAGE, imap
from libraries.peers import serving
from libraries.trial import Trial, case


@case("IMAPClient", "`IMAPClient`", "`IMAPClient(host, ssl_context=ctx)`")
def test_imapclient(trial: Trial) -> None:
    with serving(trial.foreign, imap) as server:

        def fetch() -> None:
            with imapclient.IMAPClient(
                HOST, server.port, ssl_context=trial.context, timeout=10
            ) as client:
                client.login("user", "12345")
                client.select_folder("INBOX")
                assert client.fetch(1, "BODY[]")[1][b"BODY[]"] == MESSAGE

        trial.check(fetch, server.reused)
