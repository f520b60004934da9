"""Spans of answered calls, to an OpenTelemetry collector. Imported only where there is one: it takes long.

The event loop makes a call's spans when its answer is on its way; one thread sends them. A collector that does not
answer costs spans, the oldest first, and a line a minute in the log: no request waits for it, and a stop for
CLOSING_SECONDS at most. What is refused before its head has been read (431, 408, 503 for want of connections) has no
spans: nobody knows yet what trace it is of.
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

from model_server.predict.scoring import Call
from model_server.settings import ServerSettings
from model_server.telemetry.metrics import STAGES

LOG = logging.getLogger("serving")
THEIRS = logging.getLogger("opentelemetry")
QUEUE_SPANS = 2048
"""Most spans in memory; five are a call."""
SEND_EVERY = 1  # second
SEND_SECONDS = 5  # that one batch is tried
CLOSING_SECONDS = 2
LOG_EVERY = 60  # seconds


def tracing(settings: ServerSettings) -> "Tracing":
    """Sends to the collector that the environment names."""
    return Tracing(
        settings.otel_exporter_otlp_endpoint or "", sample=settings.otel_traces_sampler_arg, of=settings.labels
    )


class Tracing:
    """Sends a span of each call that it is shown and whose trace is sampled, and if it was predicted one of each stage.

    A call's trace and its sampling are those of its traceparent; `sample` is the share of the calls without one. `of`
    is on each call's span.
    """

    def __init__(self, endpoint: str, *, sample: float, of: dict[str, str]) -> None:
        said = {"service.name": of["model"], "service.version": of["version"], "service.instance.id": gethostname()}
        self._of, self._parent_of = of, TraceContextTextMapPropagator().extract
        self._troubles = _Seldom()
        THEIRS.addHandler(self._troubles)
        THEIRS.propagate = False
        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=SEND_SECONDS)
        self._provider = TracerProvider(
            ParentBased(TraceIdRatioBased(sample)), Resource.create(said), shutdown_on_exit=False
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter, max_queue_size=QUEUE_SPANS, schedule_delay_millis=SEND_EVERY * 1000)
        )
        self._tracer = self._provider.get_tracer("serving")

    def watch(self, call: Call) -> None:
        """The call's spans wait to be sent, if its trace is sampled."""
        if call.answer is None:
            return
        # Where a thread failed, a stage that was never reached has no time.
        times = accumulate((call.arrived, call.started, call.parsed, call.predicted, call.finished), max)
        origin = time_ns() - int(perf_counter() * 1e9)
        stages = [origin + int(seconds * 1e9) for seconds in times]
        whole = self._tracer.start_span(
            "POST /invocations",
            self._parent_of({"traceparent": call.trace}, Context()),
            SpanKind.SERVER,
            start_time=stages[0],
        )
        if not whole.is_recording():
            return
        status = call.answer.status
        whole.set_attributes(
            {
                **self._of,
                "request_id": call.request_id,
                "http.request.method": "POST",
                "http.route": "/invocations",
                "http.response.status_code": status,
            }
        )
        if call.rows is not None:
            whole.set_attribute("rows", len(call.rows))
        if status >= 500:
            whole.set_status(Status(StatusCode.ERROR))
        if call.predicted:
            inside = set_span_in_context(whole, Context())
            for stage, (start, end) in zip(STAGES, pairwise(stages), strict=True):
                self._tracer.start_span(stage, inside, start_time=start).end(end)
        whole.end(stages[-1])

    def close(self) -> None:
        """What was watched is sent, unless the collector takes longer than CLOSING_SECONDS."""
        # In a thread, for the library gives a collector that hangs 30 seconds.
        closing = threading.Thread(target=self._provider.shutdown, name="tracing-close", daemon=True)
        closing.start()
        closing.join(CLOSING_SECONDS)
        if closing.is_alive():
            LOG.warning("the last traces were not sent: the collector does not answer")


class _Seldom(logging.Handler):
    """The library's complaints as lines of ours, one a minute at most; the others are counted in the next."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._next, self._untold = 0.0, 0

    def emit(self, record: logging.LogRecord) -> None:
        """One more."""
        if monotonic() < self._next:
            self._untold += 1
            return
        about = {"since_the_last_line": self._untold}
        self._next, self._untold = monotonic() + LOG_EVERY, 0
        LOG.warning("tracing: %s", record.getMessage(), extra={"about": about})
