"""``python -m gnutls_resume``."""

import sys

from gnutls_resume.cli import main

if __name__ == "__main__":
    sys.exit(main())
