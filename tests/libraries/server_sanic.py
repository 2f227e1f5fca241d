"""Sanic's own server, in one process."""

from sanic import Sanic
from sanic.response import raw
from server_context import make_context, port

application = Sanic("echo")


@application.post("/")
@application.get("/", name="get")
async def echo(request):
    return raw(request.body or b"")


application.run("127.0.0.1", port, ssl=make_context(), single_process=True, motd=False)
