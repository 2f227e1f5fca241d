"""urllib3: python urllib3_client.py https://example.org/ [trust.pem]"""

import ssl
import sys

import urllib3

import gnutls_resume


def pool(context: ssl.SSLContext) -> urllib3.PoolManager:
    """Make one context and keep it; each new connection of the pool resumes."""
    return urllib3.PoolManager(ssl_context=context)


if __name__ == "__main__":
    url, *trust = sys.argv[1:]
    context = gnutls_resume.create_default_context(
        cafile=next(iter(trust), None), on_handshake=print
    )
    for _ in range(2):
        with pool(context) as http:
            print(http.request("GET", url).status)
