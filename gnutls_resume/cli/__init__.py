"""Operators' commands: ``python -m gnutls_resume keys`` and ``sessions``.

A command is a file of this folder: ``add(commands)`` says what it takes, and the function that
it sets as ``run`` prints what was asked for. A fault is one sentence on standard error, and 1.
"""

import argparse
import sys
from collections.abc import Sequence

from gnutls_resume import GnuTLSError, StoreError
from gnutls_resume.cli import keys, sessions


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m gnutls_resume", description="Ticket keys and stored TLS sessions."
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    keys.add(commands)
    sessions.add(commands)
    chosen = parser.parse_args(arguments)
    try:
        chosen.run(chosen)
    except BrokenPipeError:  # whoever reads has seen enough, as head does
        sys.stderr.close()
    except (OSError, ValueError, GnuTLSError, StoreError, ImportError) as error:
        print(f"gnutls_resume: {error}", file=sys.stderr)
        return 1
    return 0
