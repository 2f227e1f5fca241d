"""aiosmtpd, with TLS from the start and after STARTTLS."""

import hashlib
import smtplib

import pytest
from conftest import HOST, Certificates
from interop.programs import SECONDS
from libraries.servers import Client, assert_resumes, each_version, server_case, serving

pytestmark = server_case(
    "aiosmtpd",
    "`Controller`",
    "`Controller(handler, ssl_context=ctx)`, with STARTTLS `tls_context=ctx`",
)
MAIL = (
    b"Subject: many lines\r\n\r\n"
    + 4096 * b"One line of sixty-four bytes, the sixty-two of which end here.\r\n"
)
PEOPLE = ("from@example.org", ["to@example.org"])


def smtps(port: int, client: Client) -> None:
    with smtplib.SMTP_SSL(HOST, port, context=client, timeout=SECONDS) as smtp:
        assert smtp.sendmail(*PEOPLE, MAIL) == {}


def starttls(port: int, client: Client) -> None:
    with smtplib.SMTP(HOST, port, timeout=SECONDS) as smtp:
        smtp.starttls(context=client)
        assert smtp.sendmail(*PEOPLE, MAIL) == {}


@pytest.mark.parametrize("transfer", [smtps, starttls])
@each_version
def test_aiosmtpd_resumes(certificates: Certificates, transfer, version: str) -> None:
    with serving(certificates, "server_aiosmtpd.py", transfer.__name__) as server:
        assert_resumes(server, version, transfer)
        digest = hashlib.sha256(MAIL).hexdigest()
        server.program.wait_for(f"^message {digest}$", 3)
