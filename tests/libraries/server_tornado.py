"""tornado's HTTPServer."""

import asyncio

import tornado.httpserver
import tornado.web
from server_context import make_context, port


class Echo(tornado.web.RequestHandler):
    def post(self):
        self.write(self.request.body)

    get = post


async def main():
    application = tornado.web.Application([("/", Echo)])
    server = tornado.httpserver.HTTPServer(application, ssl_options=make_context())
    server.listen(port, "127.0.0.1")
    print("listening")
    await asyncio.Event().wait()


asyncio.run(main())
