"""uvicorn on the loop that is asked for; the example takes uvloop where it is installed."""

import uvicorn
from server_context import make_context, port, words

uvicorn.run(
    "server_echo:asgi", port=port, loop=words[0], ssl_context_factory=lambda *_: make_context()
)
