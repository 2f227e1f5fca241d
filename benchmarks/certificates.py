"""A root, and certificates signed by it, all with P-256 keys."""

from pathlib import Path
from typing import NamedTuple

import trustme

HOST = "localhost"


class Files(NamedTuple):
    """PEM files: what the server sends, its key, and the root that the client trusts."""

    certificate: Path
    key: Path
    trust: Path


def make_certificates(folder: Path, number: int) -> list[Files]:
    """Make one root and this many leaves for HOST, signed by the root itself."""
    root = trustme.CA(key_type=trustme.KeyType.ECDSA)
    trust = folder / "root.pem"
    root.cert_pem.write_to_path(trust)
    made = []
    for i in range(number):
        files = Files(folder / f"leaf-{i}.pem", folder / f"leaf-{i}-key.pem", trust)
        leaf = root.issue_cert(HOST, key_type=trustme.KeyType.ECDSA)
        leaf.cert_chain_pems[0].write_to_path(files.certificate)
        leaf.private_key_pem.write_to_path(files.key)
        made.append(files)
    return made
