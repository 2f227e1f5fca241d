"""The ClientHello parser meets a million strangers, under AddressSanitizer."""

import shutil
import subprocess
from pathlib import Path

from binding.test_client_hello import first_flight
from conftest import Certificates
from pair import TLS12, TLS13, Setting

from gnutls_resume.binding import TicketKey

SOURCE = Path(__file__).with_name("client_hello_fuzz.c")
BINDING = SOURCE.parent.parent.parent / "gnutls_resume/binding"
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
COUNT = 1_000_000
NO_COMPILER = "AddressSanitizer is missing: on Debian it comes with gcc (libasan)"


def captured(certificates: Certificates) -> list[bytes]:
    """Hellos of the running library: with a name and without, with a ticket, an identity, both."""
    found = []
    for priority in (TLS12, TLS13, "NORMAL"):
        for name in ("localhost", None):
            setting = Setting(
                certificates, priority, server_name=name, ticket_key=TicketKey.generate()
            )
            data, _ = setting.connect()
            found += [first_flight(setting), first_flight(setting, data)]
    return found


def test_no_hello_makes_the_parser_read_past_it(certificates: Certificates, tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    assert compiler, "cc is missing: on Debian, gcc"
    program = tmp_path / "fuzz"
    flags = subprocess.check_output(["pkg-config", "--cflags", "--libs", "gnutls"], text=True)
    built = subprocess.run(
        [compiler, "-O1", *SANITIZERS, f"-I{BINDING}", SOURCE, "-o", program, *flags.split()],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, f"{NO_COMPILER}: {built.stderr}"
    files = []
    for number, hello in enumerate(captured(certificates)):
        files.append(tmp_path / f"hello-{number}")
        files[-1].write_bytes(hello)
    done = subprocess.run(
        [program, str(COUNT), *files], capture_output=True, text=True, check=False, timeout=600
    )
    assert (done.returncode, done.stderr) == (0, "")
    named, tickets, identities = map(int, done.stdout.split())
    # Most inputs are still well enough formed to say something, and many are not.
    for number in (named, tickets, identities):
        assert COUNT // 50 < number < COUNT
