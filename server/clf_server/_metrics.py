"""Counters, histograms and gauges of one server process, in Prometheus' format.

Labels have few values and none that anybody outside chooses: routes, codes, states.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import prometheus_client as prometheus
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clf_server._audit import AuditLog
from clf_server._metadata import Metadata

_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """What a server counts while it works.

    Parameters
    ----------
    software, mode
        Stand in ``clf_server_info``.
    """

    def __init__(self, *, software: str, mode: str) -> None:
        self.registry = prometheus.CollectorRegistry()
        prometheus.ProcessCollector(registry=self.registry)
        info = prometheus.Info("clf_server", "What runs", registry=self.registry)
        info.info({"software": software, "mode": mode})
        self._sessions = prometheus.Counter(
            "clf_sessions",
            "Sessions that enclaves asked for; the reason of a refusal is its error code",
            ["outcome", "reason"],
            registry=self.registry,
        )
        self._session_seconds = prometheus.Histogram(
            "clf_session_seconds",
            "Time to decide on a session",
            registry=self.registry,
            buckets=_SECONDS,
        )
        self._requests = prometheus.Counter(
            "clf_requests",
            "Requests to the control listener",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self._request_seconds = prometheus.Histogram(
            "clf_request_seconds",
            "Time to answer a request to the control listener",
            ["route"],
            registry=self.registry,
            buckets=_SECONDS,
        )
        self._bytes = prometheus.Counter(
            "clf_ciphertext_bytes",
            "Ciphertext that left or arrived",
            ["direction"],
            registry=self.registry,
        )
        self._derivations = prometheus.Gauge(
            "clf_derivations",
            "Versions of filtered rows that are being sealed or wait for it",
            registry=self.registry,
        )

    def session(self, outcome: str, seconds: float, reason: str = "") -> None:
        """Count a session: ``granted``, ``refused`` with its error code, or ``not_ready``."""
        self._sessions.labels(outcome, reason).inc()
        self._session_seconds.observe(seconds)

    def request(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Count a request; what matches no route is one route."""
        known = route or "none"
        self._requests.labels(method if route else "any", known, str(status)).inc()
        self._request_seconds.labels(known).observe(seconds)

    def sent(self, size_bytes: int) -> None:
        """Count ciphertext that left."""
        self._bytes.labels("out").inc(size_bytes)

    def received(self, size_bytes: int) -> None:
        """Count ciphertext that arrived."""
        self._bytes.labels("in").inc(size_bytes)

    def derivation_began(self) -> None:
        """Count a version of filtered rows that is to be sealed."""
        self._derivations.inc()

    def derivation_ended(self) -> None:
        """Count one less."""
        self._derivations.dec()

    def watch(self, metadata: Metadata, audit: AuditLog) -> None:
        """Show, too, what lies in the database at the moment of a look."""
        self.registry.register(_Stored(metadata, audit))


class _Stored(Collector):
    def __init__(self, metadata: Metadata, audit: AuditLog) -> None:
        self._metadata = metadata
        self._audit = audit

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Name what `collect` yields, without a look at the database."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Read the gauges."""
        entries = GaugeMetricFamily("clf_audit_entries", "Entries of the audit log")
        entries.add_metric([], self._audit.checkpoint().size)
        yield entries
        stored = self._metadata.count()
        for name, about, value in (
            ("clf_tables", "Tables that are shared", stored.tables),
            ("clf_results", "Outputs that are kept", stored.results),
            ("clf_sealed_bytes", "Ciphertext of all versions of tables", stored.sealed_bytes),
            ("clf_paused", "Whether the owner has paused the server", int(stored.paused)),
        ):
            gauge = GaugeMetricFamily(name, about)
            gauge.add_metric([], value)
            yield gauge
        jobs = GaugeMetricFamily(
            "clf_jobs", "Jobs by their state; pending ones wait", labels=["state"]
        )
        for state, count in stored.jobs.items():
            jobs.add_metric([state], count)
        yield jobs


def metrics_app(metrics: Metrics) -> Starlette:
    """Return the application of the listener for metrics: ``/metrics`` and nothing else."""

    def look(_request: Request) -> Response:
        return Response(
            prometheus.generate_latest(metrics.registry),
            headers={"content-type": prometheus.CONTENT_TYPE_LATEST},
        )

    return Starlette(routes=[Route("/metrics", look, methods=["GET"])])
