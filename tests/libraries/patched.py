"""A client in a process whose standard library is patched before anything else is imported."""

import json
import os
import subprocess
import sys
from pathlib import Path

from conftest import HOST
from libraries.peers import SECONDS, Server
from libraries.trial import Trial

from gnutls_resume import HandshakeKind, Outcome

EXAMPLES = Path(__file__).parents[2] / "examples"
PROGRAM = """
import http.client, json, sys
import requests, gnutls_resume
from requests_adapter import ResumingAdapter

host, port, trust, client = sys.argv[1:]
data = bytes(range(256)) * 400

def http_client():
    connection = http.client.HTTPSConnection(host, port, context=context, timeout=10)
    connection.request("POST", "/", data)
    answer = connection.getresponse().read()
    connection.close()
    return answer

def requests_session():
    with requests.Session() as session:
        session.verify = trust
        session.mount("https://", ResumingAdapter(context))
        return session.post(f"https://{host}:{port}/", data, timeout=10).content

outcomes = []
context = gnutls_resume.create_default_context(cafile=trust, on_handshake=outcomes.append)
for _ in sys.stdin:
    assert globals()[client]() == data
    print(json.dumps([[each.kind.name, each.protocol] for each in outcomes]), flush=True)
    outcomes.clear()
"""


def check_in_child(trial: Trial, server: Server, patch: str, client: str) -> None:
    """`trial.check` of a function of PROGRAM, which makes a connection for each line it reads."""
    arguments = (HOST, str(server.port), trial.trust, client)
    with subprocess.Popen(
        [sys.executable, "-c", patch + PROGRAM, *arguments],
        cwd=EXAMPLES,
        # eventlet would patch dnspython, and with it trio, which does not bear it.
        env=os.environ | {"EVENTLET_NO_GREENDNS": "yes"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:

        def connect() -> None:
            child.stdin.write("connect\n")
            child.stdin.flush()
            for kind, protocol in json.loads(child.stdout.readline()):
                trial.outcomes.append(
                    Outcome(HandshakeKind[kind], None, HOST, protocol, False, 0.0)
                )

        trial.check(connect, server.reused)
        child.stdin.close()
        assert child.wait(SECONDS) == 0
