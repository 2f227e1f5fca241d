import smtplib

from conftest import HOST
from libraries.smtp import MESSAGE, mailbox
from libraries.trial import Trial, case
from smtplib_client import send


@case("smtplib", "`SMTP.starttls`", "`smtp.starttls(context=ctx)`, smtplib_client.py")
def test_starttls(trial: Trial) -> None:
    with mailbox(trial.foreign, starttls=True) as box:
        server = (HOST, box.port)
        trial.check(
            lambda: send(trial.context, server, "a@example.org", "b@example.org", MESSAGE),
            box.reused,
        )
        assert box.messages == 2 * [MESSAGE.encode()]


@case("smtplib", "`SMTP_SSL`", "`SMTP_SSL(context=ctx)`")
def test_smtp_ssl(trial: Trial) -> None:
    with mailbox(trial.foreign, starttls=False) as box:

        def send() -> None:
            with smtplib.SMTP_SSL(HOST, box.port, context=trial.context, timeout=10) as smtp:
                smtp.sendmail("a@example.org", "b@example.org", MESSAGE)

        trial.check(send, box.reused)
        assert box.messages == 2 * [MESSAGE.encode()]
