"""Servers that are programs of their own; each yields its port."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conftest import Certificates
from interop.programs import find, free_port, running

# "user root": a broker started by root changes to a user who can't read the key.
BROKER = """\
listener {port} 127.0.0.1
allow_anonymous true
certfile {certificate}
keyfile {key}
log_dest stderr
user root
"""


@contextmanager
def mosquitto(certificates: Certificates, folder: Path) -> Iterator[int]:
    port, settings = free_port(), folder / "mosquitto.conf"
    files = {"certificate": certificates.certificate_file, "key": certificates.key_file}
    settings.write_text(BROKER.format(port=port, **files))
    with running(find("mosquitto"), "-c", settings) as program:
        program.wait_for(" running$")
        yield port


@contextmanager
def nats_server(certificates: Certificates) -> Iterator[int]:
    port = free_port()
    address = ("--addr", "127.0.0.1", "--port", str(port))
    files = ("--tlscert", certificates.certificate_file, "--tlskey", certificates.key_file)
    with running(find("nats-server"), *address, "--tls", *files) as program:
        program.wait_for("Server is ready")
        yield port


@contextmanager
def redis_server(certificates: Certificates) -> Iterator[int]:
    port = free_port()
    options = {
        "--bind": "127.0.0.1",
        "--port": "0",
        "--tls-port": str(port),
        "--tls-cert-file": certificates.certificate_file,
        "--tls-key-file": certificates.key_file,
        "--tls-auth-clients": "no",
        "--save": "",
    }
    words = (word for option in options.items() for word in option)
    with running(find("redis-server"), *words) as program:
        program.wait_for("Ready to accept connections")
        yield port
