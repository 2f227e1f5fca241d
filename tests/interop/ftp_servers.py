"""vsftpd and ProFTPD on loopback, as root or as an ordinary user.

Both insist that data connections resume the session of the control connection; that is their
default. Debian's packages of the two exclude each other, so what is not installed is unpacked
from its package into build/, once.
"""

import grp
import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import Certificates
from interop.programs import SECONDS, free_port, running

ROOT = Path(__file__).parents[2]
UNPACKED = ROOT / "build" / "debian"
PACKAGES = {"vsftpd": ("vsftpd",), "proftpd": ("proftpd-core", "proftpd-mod-crypto")}
# Where daemons live is not on the PATH of an ordinary user.
DAEMONS = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])

USER = "anonymous"
PASSWORD = "secret"
# openssl passwd -6 -salt loopback secret
PASSWORD_HASH = (
    "$6$loopback$8pZT2oPQWZeA/JM37uBLyLX4raamVSPdBZPQL"
    "XFTU9wuXFjkhTeI8mirzohJyic.4KegYNBp.xDfwUvrXv16P."
)


@dataclass(frozen=True)
class Server:
    """A server that is running: where it listens, and what it has written and logged."""

    port: int
    folder: Path
    log: Path
    refusal: str
    """The reply to a transfer over a data connection that was not resumed."""
    resumed: str
    """A regular expression for the log's lines about a resumed data connection."""

    def count_resumed(self) -> int:
        return len(re.findall(self.resumed, self.log.read_text()))


def unpack(packages: tuple[str, ...], folder: Path) -> None:
    """Unpack packages, and what they need that is not installed, into a new folder."""

    def apt_get(*words: str) -> str:
        command = ("apt-get", "--quiet", *words)
        return subprocess.run(
            command, capture_output=True, check=True, cwd=work, text=True, timeout=300
        ).stdout

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        plan = apt_get("install", "--simulate", "--no-install-recommends", *packages)
        apt_get("download", *re.findall(r"^Inst (\S+)", plan, re.MULTILINE))
        for archive in Path(work).glob("*.deb"):
            subprocess.run(("dpkg", "-x", archive, Path(work, "root")), check=True, timeout=60)
        Path(work, "root").rename(folder)


def find(name: str) -> tuple[list[str], Path | None]:
    """The command that starts a server, and the folder it was unpacked in, if it was."""
    path = shutil.which(name, path=DAEMONS)
    if path is not None:
        return [path], None
    folder = UNPACKED / name
    try:
        if not folder.exists():
            unpack(PACKAGES[name], folder)
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "stderr", None) or error
        packages = " ".join(PACKAGES[name])
        pytest.fail(
            f"{name} is missing: install the Debian package {packages}. "
            f"It could not be downloaded either: {reason}",
            pytrace=False,
        )
    libraries = {str(path.parent) for path in folder.glob("usr/lib/**/*.so.*")}
    search = "LD_LIBRARY_PATH=" + os.pathsep.join(sorted(libraries))
    return ["env", search, str(folder / "usr/sbin" / name)], folder


def account() -> str:
    """The user that runs the tests."""
    return pwd.getpwuid(os.getuid()).pw_name


def wait_until_it_listens(port: int) -> None:
    """Neither server says when it is ready."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        else:
            return


@contextmanager
def vsftpd(certificates: Certificates, folder: Path) -> Iterator[Server]:
    command, _ = find("vsftpd")
    port = free_port()
    files = folder / "files"
    files.mkdir()
    log = folder / "log"
    log.touch()
    settings = {
        "listen": "YES",
        "listen_address": "127.0.0.1",
        "listen_port": port,
        "background": "NO",
        # Root and ordinary users alike: one process, no other user, no chroot.
        "run_as_launching_user": "YES",
        "ftp_username": account(),
        "anonymous_enable": "YES",
        "anon_root": files,
        "anon_upload_enable": "YES",
        "anon_other_write_enable": "YES",
        "anon_world_readable_only": "NO",
        "write_enable": "YES",
        "ssl_enable": "YES",
        "allow_anon_ssl": "YES",
        "force_anon_logins_ssl": "YES",
        "force_anon_data_ssl": "YES",
        "rsa_cert_file": certificates.certificate_file,
        "rsa_private_key_file": certificates.key_file,
        # The default is for RSA keys alone.
        "ssl_ciphers": "HIGH",
        "debug_ssl": "YES",
        "xferlog_enable": "YES",
        "xferlog_std_format": "NO",
        "vsftpd_log_file": log,
    }
    configuration = folder / "vsftpd.conf"
    configuration.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    with running(*command, configuration):
        wait_until_it_listens(port)
        yield Server(port, files, log, "522 .*session reuse required", r"cipher: \S+, reused")


@contextmanager
def proftpd(certificates: Certificates, folder: Path) -> Iterator[Server]:
    command, unpacked = find("proftpd")
    port = free_port()
    files = folder / "files"
    files.mkdir()
    log = folder / "log"
    log.touch()
    modules = f"ModulePath {unpacked}/usr/lib/proftpd" if unpacked else ""
    users = folder / "users"
    users.write_text(f"{USER}:{PASSWORD_HASH}:{os.getuid()}:{os.getgid()}::{files}:/bin/sh\n")
    _, _, issuers = certificates.certificate.partition(b"-----END CERTIFICATE-----\n")
    chain = folder / "chain.pem"
    chain.write_bytes(issuers)
    key = folder / "key.pem"
    key.write_bytes(certificates.key)
    for secret in (users, key):  # it refuses what others can read
        secret.chmod(0o600)
    configuration = folder / "proftpd.conf"
    configuration.write_text(f"""
        {modules}
        LoadModule mod_tls.c
        ServerType standalone
        DefaultAddress 127.0.0.1
        SocketBindTight on
        Port {port}
        UseIPv6 off
        UseReverseDNS off
        User {account()}
        Group {grp.getgrgid(os.getgid()).gr_name}
        PidFile {folder}/pid
        ScoreboardFile {folder}/scoreboard
        DelayTable none
        WtmpLog off
        TransferLog none
        AuthOrder mod_auth_file.c
        AuthUserFile {users}
        RequireValidShell off
        RootLogin on
        AllowOverwrite on
        TLSEngine on
        TLSRequired on
        TLSLog {log}
        TLSECCertificateFile {certificates.certificate_file}
        TLSECCertificateKeyFile {key}
        TLSCertificateChainFile {chain}
        """)
    with running(*command, "--nodaemon", "--config", configuration):
        wait_until_it_listens(port)
        yield Server(port, files, log, "425 ", r"client reused \S+ session for data connection")


SERVERS = {"vsftpd": vsftpd, "proftpd": proftpd}
