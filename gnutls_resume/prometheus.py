"""The numbers of ``SSLContext.stats`` as metrics for Prometheus; needs the extra ``[prometheus]``.

    from prometheus_client import REGISTRY
    from gnutls_resume.prometheus import Collector

    REGISTRY.register(Collector({"web": context}))

A context counts in its own process: of servers with several workers each has numbers of its own,
which prometheus_client's multiprocess mode does not add up.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from gnutls_resume.drop_in.context import SSLContext
from gnutls_resume.resumption.outcome import HandshakeKind, MissReason

try:
    from prometheus_client.metrics_core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        Metric,
        UnknownMetricFamily,
    )
except ImportError as error:
    raise ImportError(
        "gnutls_resume.prometheus needs prometheus_client: pip install 'gnutls_resume[prometheus]'"
    ) from error

__all__ = ["Collector"]

PREFIX = "gnutls_resume_"
FAMILIES: dict[str, tuple[Any, str, tuple[str, ...]]] = {
    "handshakes_started": (CounterMetricFamily, "Handshakes that have begun.", ("side",)),
    "handshakes": (CounterMetricFamily, "Handshakes that have succeeded.", ("side", "kind")),
    "misses": (CounterMetricFamily, "Full handshakes, by the reason.", ("side", "reason")),
    "failed_handshakes": (CounterMetricFamily, "Handshakes that have failed.", ()),
    "store_searches": (CounterMetricFamily, "Searches for a session in the store.", ("answer",)),
    "store_writes": (CounterMetricFamily, "Calls to keep or forget a session.", ("answer",)),
    "store_seconds": (CounterMetricFamily, "Time that calls of the store have taken.", ()),
    "not_sealed": (CounterMetricFamily, "Sessions that could not be sealed.", ()),
    "on_handshake_errors": (CounterMetricFamily, "Exceptions out of on_handshake.", ()),
    "ring_epoch": (GaugeMetricFamily, "The ticket key ring's current epoch.", ()),
    "ring_accepted": (GaugeMetricFamily, "How many ticket keys the ring accepts.", ()),
    "ring_rotations": (CounterMetricFamily, "How often its current key has changed.", ()),
    "ring_source_errors": (CounterMetricFamily, "Failures of the source of its keys.", ()),
    "other": (UnknownMetricFamily, "Numbers of stats that have no metric yet.", ("name",)),
}

SIDES = ("client", "server")
PLACES: dict[str, tuple[str, tuple[str, ...]]] = {
    # In which metric, and with which labels, a number of stats is.
    **{f"{side}_started": ("handshakes_started", (side,)) for side in SIDES},
    **{
        f"{side}_{kind.name.lower()}": ("handshakes", (side, kind.name.lower()))
        for side in SIDES
        for kind in HandshakeKind
    },
    **{
        f"{side}_{reason.name.lower()}": ("misses", (side, reason.name.lower()))
        for side in SIDES
        for reason in MissReason
    },
    "store_hits": ("store_searches", ("hit",)),
    "store_misses": ("store_searches", ("miss",)),
    "store_errors": ("store_searches", ("error",)),
    "store_writes": ("store_writes", ("done",)),
    "store_write_errors": ("store_writes", ("error",)),
    **{name: (name, ()) for name, (_, _, labels) in FAMILIES.items() if not labels},
}
SUMS = frozenset(f"{side}_handshakes" for side in SIDES)  # of the kinds: Prometheus adds up itself


class Collector:
    """A collector for ``prometheus_client``: ``REGISTRY.register(Collector({"web": context}))``.

    `contexts` are the contexts to watch, each under the name that is its label ``context``. The
    mapping is read at each scrape, so that contexts can come and go. One collector is for all
    contexts of a registry: a second one has the same metrics and is refused there.

    A counter is there from the beginning, at 0, so that its first increase is seen. A number in
    ``stats`` that is not known here is in ``gnutls_resume_other``, with its name as a label.
    """

    def __init__(self, contexts: Mapping[str, SSLContext]) -> None:
        if not isinstance(contexts, Mapping):
            raise TypeError(f"contexts must be a mapping, not {type(contexts).__name__}")
        for name, context in contexts.items():
            if not isinstance(name, str):
                raise TypeError(f"contexts: a name must be str, not {type(name).__name__}")
            if not isinstance(context, SSLContext):
                raise TypeError(
                    f"contexts: {name} must be a gnutls_resume.SSLContext, "
                    f"not {type(context).__name__}"
                )
        self._contexts = contexts

    def collect(self) -> Iterable[Metric]:
        """The numbers of now. For ``prometheus_client``, in whatever thread it is asked."""
        families = empty()
        for name, context in list(self._contexts.items()):
            for number, value in {**zeros(context), **context.stats}.items():
                if number in SUMS:
                    continue
                family, labels = PLACES.get(number, ("other", (number,)))
                families[family].add_metric([name, *labels], value)
        return list(families.values())

    def describe(self) -> Iterable[Metric]:
        """The metrics without numbers, for ``REGISTRY.register``."""
        return list(empty().values())


def empty() -> dict[str, Any]:
    return {
        name: family(PREFIX + name, text, labels=("context", *labels))
        for name, (family, text, labels) in FAMILIES.items()
    }


def zeros(context: SSLContext) -> dict[str, float]:
    """What this context can count; its ring, if it has one, always says its numbers."""
    protocol = context.protocol.name
    unused = {"PROTOCOL_TLS_CLIENT": "server_", "PROTOCOL_TLS_SERVER": "client_"}.get(protocol)
    skipped = ("ring_", unused) if unused else ("ring_",)
    return {number: 0 for number in PLACES if not number.startswith(skipped)}
