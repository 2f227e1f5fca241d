import asyncio
import socket
import struct

import bson
import pymongo
from conftest import HOST
from libraries.peers import DATA, Server, read_exactly, serving
from libraries.trial import Trial, case
from pymongo_client import use

HEADER = struct.Struct("<iiii")
MESSAGE = 2013
HELLO = {"isWritablePrimary": True, "maxWireVersion": 25, "minWireVersion": 0, "ok": 1}


def mongo(server: Server, sock: socket.socket) -> None:
    """As much of MongoDB's protocol as says hello, and returns what else it gets."""
    with server.wrap(sock) as tls:
        while header := read_exactly(tls, HEADER.size):
            size, request, _, code = HEADER.unpack(header)
            body = read_exactly(tls, size - HEADER.size)
            if code == MESSAGE:
                command = bson.decode(body[5:])
                answer = {"ok": 1, "data": command.get("data")} if "echo" in command else HELLO
                reply = bytes(5) + bson.encode(answer)
            else:  # OP_QUERY, with which pymongo begins; answered by OP_REPLY
                reply = struct.pack("<iqii", 8, 0, 0, 1) + bson.encode(HELLO)
            kind = MESSAGE if code == MESSAGE else 1
            tls.sendall(HEADER.pack(HEADER.size + len(reply), 0, request, kind) + reply)


@case("pymongo", "`MongoClient`, to a minimal server", "pymongo_client.py")
def test_pymongo(trial: Trial) -> None:
    with serving(trial.foreign, mongo) as server:

        def connect() -> None:
            uri = f"mongodb://{HOST}:{server.port}/"
            client = pymongo.MongoClient(uri, tls=True, connect=False)
            with use(trial.context, client):
                answer = client.admin.command({"echo": 1, "data": DATA})
                assert answer["data"] == DATA

        trial.check(connect)


@case("pymongo", "`AsyncMongoClient`, to a minimal server", "as pymongo_client.py")
def test_pymongo_async(trial: Trial) -> None:
    with serving(trial.foreign, mongo) as server:

        async def connect() -> None:
            uri = f"mongodb://{HOST}:{server.port}/"
            client = pymongo.AsyncMongoClient(uri, tls=True, connect=False)
            async with use(trial.context, client):
                answer = await client.admin.command({"echo": 1, "data": DATA})
                assert answer["data"] == DATA

        trial.check(lambda: asyncio.run(connect()))
