"""The application that all servers serve: it returns what it gets, and prints who has served it."""

import os

SIZE = 256 * 1024  # of servers.BODY


def wsgi(environ, start_response):
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    tell_who_serves()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def tell_who_serves():
    # In one piece: several processes write.
    print(f"served by {os.getpid()}\n", end="")


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        for event in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{event}.complete"})
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    tell_who_serves()
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
