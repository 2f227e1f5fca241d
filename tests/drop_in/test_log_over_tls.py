"""A logging handler may send over our TLS, as the standard library's HTTPHandler does."""

import logging
import ssl

import pytest
from conftest import Certificates
from wrapped import client_context, connect, server_context


class OverTLS(logging.Handler):
    """Makes a connection for each record."""

    def __init__(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        super().__init__()
        self.records: list[str] = []
        self._ends = client, server

    def emit(self, record: logging.LogRecord) -> None:
        assert len(self.records) < 10
        self.records.append(record.getMessage())
        connect(*self._ends)  # type: ignore[arg-type]


def test_its_handshakes_are_not_logged_by_itself(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client, server = client_context(certificates), server_context(certificates)
    handler = OverTLS(client, server)
    logger = logging.getLogger("gnutls_resume")
    monkeypatch.setattr(logger, "handlers", [handler])
    caplog.set_level(logging.DEBUG, logger.name)
    logger.error("one")
    assert handler.records == ["one"]
    connect(client, server)
    assert len(handler.records) == 3  # a client's and a server's handshake
