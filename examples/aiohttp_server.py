"""An aiohttp server whose clients resume their TLS sessions.

python aiohttp_server.py certificate.pem key.pem 8443
"""

import ssl
import sys

from aiohttp import web

from gnutls_resume import create_default_context


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


def main(certificate: str, key: str, port: str) -> None:
    context = create_default_context(ssl.Purpose.CLIENT_AUTH, on_handshake=print)
    context.load_cert_chain(certificate, key)
    application = web.Application()
    application.add_routes([web.route("*", "/", echo)])
    web.run_app(application, host="127.0.0.1", port=int(port), ssl_context=context)


if __name__ == "__main__":
    main(*sys.argv[1:])
