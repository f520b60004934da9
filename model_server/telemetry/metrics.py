"""Metrics of the model server in Prometheus' text format.

Only the event loop updates them, so they need no lock. Prometheus' objects are created when it scrapes.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, cast

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from model_server.body_budget import BodyBudget
from model_server.predict.decoding import Row
from model_server.predict.scoring import Request
from model_server.predict.signature import Signature

# Seconds, from one row on an idle CPU to the longest time that a client waits. Equal to contract/buckets.py, which the
# server does not import: a model may bring a package of that name.
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
STAGE_SECONDS = (0.00005, 0.0001, 0.00025, *SECONDS)
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 4096, 16384)
BYTES = (256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216)
# Probabilities in tenths, then orders of magnitude.
VALUES = (-1e6, -1e4, -100, -10, -1, 0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 10, 100, 1e4, 1e6)
STAGES = ("queue", "parse", "predict", "serialise")
MOST_LABELS = 100  # features, and predicted classes, with their own series; the others share one
LONGEST_LABEL = 64  # characters
OTHER = "other"
CLASSES = frozenset({str, int, bool})
TRUTH = frozenset({"False", "True"})


class Tally:
    """Counts of a histogram."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Add one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def cumulative(self) -> list[tuple[str, float]]:
        """Return, as Prometheus does, the number of values at or below each bound."""
        total, shown = 0, list[tuple[str, float]]()
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            total += count
            shown.append((bound, total))
        return shown


class Logged(Protocol):
    """Counters of a prediction log. `dropped` counts by reason."""

    written: int
    dropped: Counter[str]
    spool_bytes: int


class Metrics(Collector):
    """Metrics of one model version. Times are in seconds.

    `labels` are those of every metric. `ranges` are the least and the largest value of each numeric feature in
    training. `classes` are the predictions that have their own series, as text. The other predictions share one,
    because the output of a model may be personal data.
    """

    def __init__(
        self,
        labels: Mapping[str, str],
        signature: Signature | None = None,
        ranges: Mapping[str, tuple[float, float]] | None = None,
        classes: Sequence[str] = (),
    ) -> None:
        self.in_flight = 0
        self.load_seconds = 0.0
        self.queue_length: Callable[[], int] = lambda: 0
        self.budget: BodyBudget | None = None
        self.prediction_log: Logged | None = None
        self._labels = dict(labels)
        # A share of failures needs a series of them, from before the first one.
        self._codes: Counter[int] = Counter(dict.fromkeys((200, 429, 500, 503, 504), 0))
        self._seconds = Tally(SECONDS)
        self._stages = {stage: Tally(STAGE_SECONDS) for stage in STAGES}
        self._batch, self._rows = Tally(COUNTS), Tally(COUNTS)
        self._received, self._sent = Tally(BYTES), Tally(BYTES)
        self._values = Tally(VALUES)
        self._known = TRUTH | {label for label in classes[:MOST_LABELS] if len(label) <= LONGEST_LABEL}
        self._classes: Counter[str] = Counter()
        names = signature.names if signature else []
        self._features = [name if position < MOST_LABELS else OTHER for position, name in enumerate(names)]
        self._missing: Counter[str] = Counter()
        self._outside: Counter[str] = Counter()
        self._ranges = [(position, *ranges[name]) for position, name in enumerate(names) if ranges and name in ranges]
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def refused(self, code: int) -> None:
        """Count a request whose response has this status code and no prediction."""
        self._codes[code] += 1

    def answered(self, requests: Sequence[Request]) -> None:
        """Count requests whose responses were computed together."""
        self._batch.add(len(requests))
        for request in requests:
            self._answered(request)

    def _answered(self, request: Request) -> None:
        if request.response is None:
            return
        self._codes[request.response.status] += 1
        self._seconds.add(request.finished - request.arrived)
        times = (request.arrived, request.started, request.parsed, request.predicted, request.finished)
        for position, stage in enumerate(self._stages.values()):
            stage.add(times[position + 1] - times[position])
        self._received.add(len(request.body))
        self._sent.add(len(request.response.body))
        if request.rows:
            self._rows.add(len(request.rows))
            self._read(request.rows)
            self._predicted(request.predictions)

    def _read(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if None in row:
                self._missing.update(self._features[position] for position, value in enumerate(row) if value is None)
            for position, least, largest in self._ranges:
                if row[position] is not None and not least <= row[position] <= largest:
                    self._outside[self._features[position]] += 1

    def _predicted(self, predictions: object) -> None:
        if not isinstance(predictions, list) or not predictions:
            return
        values = cast("list[object]", predictions)
        if isinstance(values[0], float):
            for value in values:
                if isinstance(value, float):
                    self._values.add(value)
        elif all(map(CLASSES.__contains__, map(type, values))):
            for value, count in Counter(values).items():
                label = str(value)
                self._classes[label if label in self._known else OTHER] += count

    def collect(self) -> Iterator[Metric]:
        """Yield the current metric families."""
        yield self._counter("requests", "Responses of /invocations", self._codes, "code")
        yield self._histogram("request_seconds", "Time from request to response", {"": self._seconds})
        yield self._histogram("stage_seconds", "Time in each stage of a request", self._stages, "stage")
        yield self._histogram("batch_requests", "Requests predicted together", {"": self._batch})
        yield self._histogram("request_rows", "Rows of a request", {"": self._rows})
        yield self._histogram("request_bytes", "Size of a request body in bytes", {"": self._received})
        yield self._histogram("response_bytes", "Size of a response body in bytes", {"": self._sent})
        yield self._histogram("prediction_value", "Predicted numbers", {"": self._values})
        yield self._counter("predictions", "Predicted classes", self._classes, "value")
        yield self._counter("input_missing", "Missing values", self._missing, "feature")
        yield self._counter("input_out_of_range", "Numbers outside the range in training", self._outside, "feature")
        yield self._gauge("requests_in_flight", "Requests without a response", self.in_flight)
        yield self._gauge("queue_length", "Requests that wait for a worker", self.queue_length())
        yield self._gauge("model_load_seconds", "Time to load and warm up the model", self.load_seconds)
        if budget := self.budget:
            yield self._gauge("body_bytes", "Bytes of request bodies and unread responses", budget.used)
            yield self._gauge("body_budget_bytes", "Limit of serving_body_bytes", budget.limit)
            yield self._counter("clients_evicted", "Clients cut because they were slowest", budget.evicted, "reason")
        if log := self.prediction_log:
            written = {"": log.written}
            yield self._counter("prediction_log_written", "Requests in the prediction log", written, "")
            yield self._counter(
                "prediction_log_dropped", "Requests dropped from the prediction log", dict(log.dropped), "reason"
            )
            yield self._gauge("prediction_log_spool_bytes", "Bytes that wait for their upload", log.spool_bytes)

    def text(self) -> bytes:
        """Return all metrics as text for a scraper."""
        return generate_latest(self._registry)

    def _gauge(self, name: str, help_text: str, value: float) -> Metric:
        family = GaugeMetricFamily(f"serving_{name}", help_text, labels=list(self._labels))
        family.add_metric(list(self._labels.values()), value)
        return family

    def _counter(self, name: str, help_text: str, counts: Mapping[Any, int], label: str) -> Metric:
        family = CounterMetricFamily(
            f"serving_{name}", help_text, labels=[*self._labels, label] if label else [*self._labels]
        )
        for key, count in counts.items():
            family.add_metric([*self._labels.values(), str(key)] if label else [*self._labels.values()], count)
        return family

    def _histogram(self, name: str, help_text: str, tallies: Mapping[str, Tally], label: str = "") -> Metric:
        family = HistogramMetricFamily(
            f"serving_{name}", help_text, labels=[*self._labels, label] if label else [*self._labels]
        )
        for key, tally in tallies.items():
            labels = [*self._labels.values(), key] if label else [*self._labels.values()]
            family.add_metric(labels, tally.cumulative(), tally.sum)
        return family
