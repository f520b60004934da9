"""Sends spans of requests to an OpenTelemetry collector. The server imports this module only if one is configured.

The event loop creates a request's spans after its response; one thread sends them. If the collector does not respond,
the oldest spans are dropped, the log gets at most one line a minute, and shutdown takes at most CLOSING_SECONDS longer;
no request waits. A request that is refused before its headers are read (431, 408, 503 for too many connections) has no
spans, because its trace is unknown.
"""

import logging
import threading
from itertools import accumulate, pairwise
from socket import gethostname
from time import monotonic, perf_counter, time_ns

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from model_server.predict.scoring import Request
from model_server.settings import ServerSettings
from model_server.telemetry.metrics import STAGES

LOG = logging.getLogger("serving")
OTEL_LOG = logging.getLogger("opentelemetry")
QUEUE_SPANS = 2048
"""Number of spans kept in memory; a request has up to five."""
SEND_EVERY = 1  # seconds
SEND_SECONDS = 5  # timeout for one batch
CLOSING_SECONDS = 2
LOG_EVERY = 60  # seconds


def tracing(settings: ServerSettings) -> "Tracing":
    """Return a tracer that sends to the collector in the settings."""
    return Tracing(
        settings.otel_exporter_otlp_endpoint or "", sample=settings.otel_traces_sampler_arg, labels=settings.labels
    )


class Tracing:
    """Sends one span for each sampled request, and one for each stage if the request was predicted.

    A request's traceparent decides its trace and its sampling; `sample` is the share of requests without one that are
    sampled. `labels` are attributes of each request's span.
    """

    def __init__(self, endpoint: str, *, sample: float, labels: dict[str, str]) -> None:
        resource = {
            "service.name": labels["model"],
            "service.version": labels["version"],
            "service.instance.id": gethostname(),
        }
        self._labels, self._parent_of = labels, TraceContextTextMapPropagator().extract
        self._handler = _LimitedHandler()
        OTEL_LOG.addHandler(self._handler)
        OTEL_LOG.propagate = False
        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=SEND_SECONDS)
        self._provider = TracerProvider(
            ParentBased(TraceIdRatioBased(sample)), Resource.create(resource), shutdown_on_exit=False
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter, max_queue_size=QUEUE_SPANS, schedule_delay_millis=SEND_EVERY * 1000)
        )
        self._tracer = self._provider.get_tracer("serving")

    def watch(self, request: Request) -> None:
        """Queue the request's spans, if its trace is sampled."""
        if request.response is None:
            return
        # If a worker failed, the stages that it did not reach have no time.
        times = accumulate((request.arrived, request.started, request.parsed, request.predicted, request.finished), max)
        origin = time_ns() - int(perf_counter() * 1e9)
        stages = [origin + int(seconds * 1e9) for seconds in times]
        whole = self._tracer.start_span(
            "POST /invocations",
            self._parent_of({"traceparent": request.trace}, Context()),
            SpanKind.SERVER,
            start_time=stages[0],
        )
        if not whole.is_recording():
            return
        status = request.response.status
        whole.set_attributes(
            {
                **self._labels,
                "request_id": request.request_id,
                "http.request.method": "POST",
                "http.route": "/invocations",
                "http.response.status_code": status,
            }
        )
        if request.rows is not None:
            whole.set_attribute("rows", len(request.rows))
        if status >= 500:
            whole.set_status(Status(StatusCode.ERROR))
        if request.predicted:
            inside = set_span_in_context(whole, Context())
            for stage, (start, end) in zip(STAGES, pairwise(stages), strict=True):
                self._tracer.start_span(stage, inside, start_time=start).end(end)
        whole.end(stages[-1])

    def close(self) -> None:
        """Send the queued spans, within CLOSING_SECONDS."""
        # In a thread, because the library waits 30 seconds for a collector that does not respond.
        closing = threading.Thread(target=self._provider.shutdown, name="tracing-close", daemon=True)
        closing.start()
        closing.join(CLOSING_SECONDS)
        if closing.is_alive():
            LOG.warning("the last traces were not sent: the collector does not respond")


class _LimitedHandler(logging.Handler):
    """Logs the library's warnings, at most one a minute; the next line counts those that were left out."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._next, self._skipped = 0.0, 0

    def emit(self, record: logging.LogRecord) -> None:
        """Log or count one warning."""
        if monotonic() < self._next:
            self._skipped += 1
            return
        about = {"since_the_last_line": self._skipped}
        self._next, self._skipped = monotonic() + LOG_EVERY, 0
        LOG.warning("tracing: %s", record.getMessage(), extra={"about": about})
