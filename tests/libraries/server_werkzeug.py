"""werkzeug's development server, for a plain WSGI application or Flask's."""

import flask
from server_context import make_context, port, words
from server_echo import wsgi
from werkzeug.serving import run_simple

application = flask.Flask(__name__)


@application.route("/", methods=["GET", "POST"])
def echo():
    return flask.request.get_data()


if words[0] == "flask":
    application.run("127.0.0.1", port, ssl_context=make_context())
else:
    run_simple("127.0.0.1", port, wsgi, ssl_context=make_context(), threaded=True)
