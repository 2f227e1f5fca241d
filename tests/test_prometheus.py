"""The metrics of a real server and client, as Prometheus reads them."""

import ssl
import subprocess
import sys
from typing import Any

import pytest
from conftest import Certificates
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from wrapped import TLS12, client_context, connect, each_version, server_context

from gnutls_resume import MemoryStore, SSLContext
from gnutls_resume.prometheus import FAMILIES, PLACES, SUMS, Collector
from gnutls_resume.resumption.outcome import HandshakeKind, MissReason

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def registry_of(**contexts: SSLContext) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=True)
    registry.register(Collector(contexts))
    return registry


def scrape(registry: CollectorRegistry) -> Samples:
    """What Prometheus reads."""
    text = generate_latest(registry).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, /, **labels: str) -> float:
    return samples[f"gnutls_resume_{name}", frozenset(labels.items())]


def nonzero(samples: Samples, name: str, context: str) -> dict[tuple[str, ...], float]:
    """Of one metric and one context: the values of the other labels in the labels' order."""
    return {
        tuple(text for label, text in sorted(labels) if label != "context"): number
        for (metric, labels), number in samples.items()
        if metric == f"gnutls_resume_{name}" and ("context", context) in labels and number
    }


@pytest.fixture
def pair(certificates: Certificates) -> tuple[SSLContext, SSLContext]:
    return client_context(certificates, sessions=MemoryStore()), server_context(certificates)


@each_version
def test_a_handshake_and_its_resumption_are_counted_on_both_sides(
    version: ssl.TLSVersion, certificates: Certificates
) -> None:
    client = client_context(certificates, sessions=MemoryStore())
    server = server_context(certificates, version)
    registry = registry_of(shop=client, web=server)
    assert nonzero(scrape(registry), "handshakes_total", "web") == {}
    assert connect(client, server).resumed == (False, False)
    assert connect(client, server).resumed == (True, True)
    samples = scrape(registry)
    assert nonzero(samples, "handshakes_started_total", "web") == {("server",): 2}
    assert nonzero(samples, "handshakes_started_total", "shop") == {("client",): 2}
    assert nonzero(samples, "handshakes_total", "web") == {
        ("full", "server"): 1,
        ("resumed_ticket", "server"): 1,
    }
    assert nonzero(samples, "handshakes_total", "shop") == {
        ("full", "client"): 1,
        ("resumed_ticket", "client"): 1,
    }
    assert nonzero(samples, "misses_total", "web") == {("none_offered", "server"): 1}
    assert nonzero(samples, "misses_total", "shop") == {("none_stored", "client"): 1}
    assert nonzero(samples, "failed_handshakes_total", "shop") == {}


def test_a_session_id_is_a_kind_of_its_own(certificates: Certificates) -> None:
    client = client_context(certificates, sessions=MemoryStore())
    server = server_context(certificates, TLS12, sessions=MemoryStore(), ticket_keys=None)
    for _ in range(3):
        connect(client, server)
    samples = scrape(registry_of(web=server))
    assert value(samples, "handshakes_total", context="web", side="server", kind="full") == 1
    by_id = {"side": "server", "kind": "resumed_session_id"}
    assert value(samples, "handshakes_total", context="web", **by_id) == 2
    assert value(samples, "store_searches_total", context="web", answer="hit") == 2
    assert value(samples, "store_seconds_total", context="web") > 0


def test_the_answers_of_the_store_are_counted(pair: tuple[SSLContext, SSLContext]) -> None:
    client, server = pair
    for _ in range(2):
        connect(client, server)
    samples = scrape(registry_of(shop=client))
    stats = client.stats
    assert stats["store_hits"] > 0
    assert stats["store_misses"] > 0
    assert nonzero(samples, "store_searches_total", "shop") == {
        ("hit",): stats["store_hits"],
        ("miss",): stats["store_misses"],
    }
    assert value(samples, "store_searches_total", context="shop", answer="error") == 0
    seconds = value(samples, "store_seconds_total", context="shop")
    assert seconds == pytest.approx(stats["store_seconds"])


def test_a_failing_store_is_seen(certificates: Certificates) -> None:
    class Failing(MemoryStore):
        def get(self, key: bytes) -> bytes | None:
            raise OSError("broken")

    client = client_context(certificates, sessions=Failing())
    connect(client, server_context(certificates))
    samples = scrape(registry_of(shop=client))
    errors = value(samples, "store_searches_total", context="shop", answer="error")
    assert errors == client.stats["store_errors"] > 0
    assert nonzero(samples, "misses_total", "shop") == {("store_error", "client"): 1}


def test_a_failed_handshake_is_seen(pair: tuple[SSLContext, SSLContext]) -> None:
    client, server = pair
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(client, server, "other.example")
    samples = scrape(registry_of(shop=client, web=server))
    for name in ("shop", "web"):
        assert value(samples, "failed_handshakes_total", context=name) == 1


def test_the_state_of_the_ring_is_a_servers(pair: tuple[SSLContext, SSLContext]) -> None:
    client, server = pair
    samples = scrape(registry_of(shop=client, web=server))
    stats = server.stats
    assert value(samples, "ring_epoch", context="web") == stats["ring_epoch"] > 0
    assert value(samples, "ring_accepted", context="web") == stats["ring_accepted"] > 0
    assert value(samples, "ring_rotations_total", context="web") == stats["ring_rotations"]
    assert value(samples, "ring_source_errors_total", context="web") == 0
    with pytest.raises(KeyError):
        value(samples, "ring_epoch", context="shop")


def test_counters_are_there_before_anything_happens(pair: tuple[SSLContext, SSLContext]) -> None:
    """Else Prometheus takes the first event for the beginning, and misses it."""
    client, server = pair
    samples = scrape(registry_of(shop=client, web=server))
    for name, side, other in (("shop", "client", "server"), ("web", "server", "client")):
        for kind in HandshakeKind:
            labels = {"context": name, "kind": kind.name.lower()}
            assert value(samples, "handshakes_total", side=side, **labels) == 0
            with pytest.raises(KeyError):
                value(samples, "handshakes_total", side=other, **labels)
        for reason in MissReason:
            labels = {"context": name, "side": side, "reason": reason.name.lower()}
            assert value(samples, "misses_total", **labels) == 0
        for answer in ("hit", "miss", "error"):
            assert value(samples, "store_searches_total", context=name, answer=answer) == 0
        for metric in ("failed_handshakes", "store_seconds", "not_sealed", "on_handshake_errors"):
            assert value(samples, f"{metric}_total", context=name) == 0


def test_a_context_of_either_side_has_both(certificates: Certificates) -> None:
    with pytest.warns(DeprecationWarning, match="PROTOCOL_TLS"):
        context = SSLContext(ssl.PROTOCOL_TLS)
    samples = scrape(registry_of(both=context))
    for side in ("client", "server"):
        assert value(samples, "handshakes_started_total", context="both", side=side) == 0


def test_every_number_of_a_context_is_in_a_metric(pair: tuple[SSLContext, SSLContext]) -> None:
    """A new one in ``stats`` wants a metric, or it is among the others."""
    client, server = pair
    for _ in range(2):
        connect(client, server)
    names = set(client.stats) | set(server.stats)
    assert len(names) > 12
    assert names - set(PLACES) - SUMS == set()
    samples = scrape(registry_of(shop=client, web=server))
    assert not any(metric == "gnutls_resume_other" for metric, _ in samples)


def test_a_number_that_is_not_known_is_among_the_others(
    pair: tuple[SSLContext, SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, _ = pair
    stats = {"client_full": 3, "client_magic": 4, "temperature": 36.6, "server_handshakes": 9}
    monkeypatch.setattr(SSLContext, "stats", property(lambda _: stats))
    samples = scrape(registry_of(shop=client))
    assert value(samples, "other", context="shop", name="client_magic") == 4
    assert value(samples, "other", context="shop", name="temperature") == 36.6
    assert nonzero(samples, "handshakes_total", "shop") == {("full", "client"): 3}
    assert len(nonzero(samples, "other", "shop")) == 2


def test_contexts_come_and_go(pair: tuple[SSLContext, SSLContext]) -> None:
    client, server = pair
    contexts = {"web": server}
    registry = CollectorRegistry(auto_describe=True)
    registry.register(Collector(contexts))
    contexts["shop"] = client
    del contexts["web"]
    assert {dict(labels)["context"] for _, labels in scrape(registry)} == {"shop"}
    contexts.clear()
    assert scrape(registry) == {}


def test_names_may_be_any_text(pair: tuple[SSLContext, SSLContext]) -> None:
    name = 'a "name"\\ of\ntwo lines, ž'
    samples = scrape(registry_of(**{name: pair[0]}))
    assert value(samples, "failed_handshakes_total", context=name) == 0


def test_openmetrics_is_well_formed_too(pair: tuple[SSLContext, SSLContext]) -> None:
    client, server = pair
    connect(client, server)
    text = exposition.generate_latest(registry_of(shop=client, web=server)).decode()
    families = {family.name: family for family in openmetrics.text_string_to_metric_families(text)}
    assert set(families) == {f"gnutls_resume_{name}" for name in FAMILIES}
    assert all(family.documentation for family in families.values())


def test_a_registry_takes_one_collector_and_asks_no_context_for_it(
    pair: tuple[SSLContext, SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: SSLContext) -> Any:
        raise AssertionError

    monkeypatch.setattr(SSLContext, "stats", property(refuse))
    registry = registry_of(shop=pair[0])
    with pytest.raises(ValueError, match="Duplicated"):
        registry.register(Collector({"web": pair[1]}))


@pytest.mark.parametrize(
    ("contexts", "message"),
    [
        ([], "contexts must be a mapping, not list"),
        (None, "contexts must be a mapping, not NoneType"),
        ({1: None}, "a name must be str, not int"),
        ({"web": None}, "web must be a gnutls_resume.SSLContext, not NoneType"),
        ({"web": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)}, "must be a gnutls_resume.SSLContext"),
    ],
)
def test_contexts_are_named_contexts_of_ours(contexts: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Collector(contexts)


def test_without_prometheus_client_the_import_says_what_to_install() -> None:
    program = (
        "import sys\n"
        "sys.modules['prometheus_client'] = None\n"
        "import gnutls_resume\n"
        "try:\n"
        "    import gnutls_resume.prometheus\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == (
        "gnutls_resume.prometheus needs prometheus_client: "
        "pip install 'gnutls_resume[prometheus]'\n"
    )


def test_the_package_alone_does_not_import_prometheus_client() -> None:
    program = "import sys, gnutls_resume; print('prometheus_client' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
