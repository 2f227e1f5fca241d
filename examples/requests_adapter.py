"""requests: python requests_adapter.py https://example.org/ [trust.pem]"""

import ssl
import sys
from typing import Any

import requests
from requests.adapters import HTTPAdapter

import gnutls_resume


class ResumingAdapter(HTTPAdapter):
    """Mount it on a session: `session.mount("https://", ResumingAdapter(context))`.

    requests loads its own bundle of authorities into the context, unless `session.verify` names
    another file.
    """

    def __init__(self, context: ssl.SSLContext, **options: Any) -> None:
        self.context = context
        super().__init__(**options)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self.context, **options)


if __name__ == "__main__":
    url, *trust = sys.argv[1:]
    context = gnutls_resume.create_default_context(
        cafile=next(iter(trust), None), on_handshake=print
    )
    for _ in range(2):
        with requests.Session() as session:
            session.mount("https://", ResumingAdapter(context))
            print(session.get(url, timeout=10).status_code)
