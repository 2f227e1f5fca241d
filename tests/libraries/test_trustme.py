"""trustme is for tests: it makes authorities, and tells contexts to trust them."""

import trustme
from conftest import HOST
from libraries.peers import http_echo, serving
from libraries.test_http_client import post
from libraries.trial import Trial, case


@case("trustme", "`CA.configure_trust`", "`ca.configure_trust(ctx)`")
def test_trustme(trial: Trial) -> None:
    authority = trustme.CA()
    authority.issue_cert(HOST).configure_cert(trial.foreign)
    authority.configure_trust(trial.context)
    with serving(trial.foreign, http_echo) as server:
        trial.check(lambda: post(trial, server), server.reused)
