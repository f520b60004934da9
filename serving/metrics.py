"""What `/metrics` shows, in Prometheus' text format."""

from collections.abc import Generator
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

LABELS = ("model", "version")
# From a single row on an idle CPU to what a caller would still wait for.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The figures of one model version. Times are seconds."""

    def __init__(self, model: str, version: int) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._of = {"model": model, "version": str(version)}
        self._requests = Counter(
            "serving_requests_total", "Answers of /invocations", (*LABELS, "code"), registry=self.registry
        )
        self._latency = Histogram(
            "serving_request_seconds", "From request to answer", LABELS, registry=self.registry, buckets=BUCKETS
        ).labels(**self._of)
        self._in_flight = Gauge(
            "serving_requests_in_flight", "Not answered yet", LABELS, registry=self.registry
        ).labels(**self._of)
        self._load = Gauge("serving_model_load_seconds", "Loading and warming", LABELS, registry=self.registry).labels(
            **self._of
        )

    def loaded(self, seconds: float) -> None:
        """How long the model took from disk to its first prediction."""
        self._load.set(seconds)

    @contextmanager
    def request(self) -> Generator[None]:
        """In flight inside, and timed."""
        start = perf_counter()
        with self._in_flight.track_inprogress():
            yield
        self._latency.observe(perf_counter() - start)

    def answered(self, code: int) -> None:
        """One more answer with this status code."""
        self._requests.labels(**self._of, code=str(code)).inc()

    def text(self) -> bytes:
        """All of it, for a scraper."""
        return generate_latest(self.registry)
