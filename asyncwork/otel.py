"""Traces of jobs with OpenTelemetry, from the enqueue to the end of each attempt.

It needs the extra ``asyncwork[otel]``, which is the API of OpenTelemetry, and works with any SDK.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import Token
from types import TracebackType

from opentelemetry import context, trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from ._jobs.error_text import describe_error, format_error, text_of, traceback_of, type_name_of
from ._jobs.tracing import JobTracing, RecordEnd
from ._version import version
from .errors import UsageError
from .job import Job
from .models.enqueued_job import EnqueuedJob

__all__ = ["JobTracing", "RecordEnd", "Tracing"]

_FIELD = "traceparent"
_PROPAGATOR = TraceContextTextMapPropagator()
# Characters of an error's text or traceback in a span, which exporters send over the network.
_LONGEST_TEXT = 8000


class Tracing:
    """Traces jobs: pass it as ``tracing=…`` to a :class:`WorkerPool` and to enqueuers.

    An enqueue is a producer span. Its context is written into the payload, and the span of each attempt has a link to
    it. The spans that a handler starts are children of the attempt's span. A job that has lost the field, as happens
    in a Go pool, or that was enqueued without tracing, has no link; its id is an attribute of each span.

    :param tracer_provider: makes the tracer; ``None`` for the global one.
    :param same_trace: whether an attempt is a child of the producer's span, too, so that it belongs to the same trace.
        Then a trace is as long as its jobs wait, and has all jobs of an ``enqueue_many``.
    :raises UsageError: when ``tracer_provider`` cannot make tracers.
    """

    def __init__(self, tracer_provider: trace.TracerProvider | None = None, *, same_trace: bool = False) -> None:
        if tracer_provider is not None and not callable(getattr(tracer_provider, "get_tracer", None)):
            kind = type_name_of(tracer_provider)
            raise UsageError(f"tracer_provider must be a TracerProvider of OpenTelemetry, or None, not {kind}")
        self._tracer = trace.get_tracer("asyncwork", version(), tracer_provider)
        self._same_trace = same_trace

    def enqueueing(self, namespace: str, jobs: Sequence[EnqueuedJob]) -> AbstractContextManager[str]:
        """Trace the block that writes jobs; enqueuers call it. Its value is the ``traceparent`` of the payloads."""
        return _Enqueue(self._tracer, namespace, jobs)

    def attempt(self, namespace: str, job: Job) -> AbstractContextManager[RecordEnd]:
        """Trace the block that runs a job once; workers call it. Its value takes how the attempt has ended."""
        producer = _read(job.trace)
        parent = producer if self._same_trace and producer is not None else context.get_current()
        links = [] if producer is None else [trace.Link(trace.get_current_span(producer).get_span_context())]
        attributes = {
            **_common(namespace, job.name, "run", "process"),
            "messaging.message.id": job.id,
            "asyncwork.job.attempt": max(0, job.fails) + 1,
            "asyncwork.job.enqueued_at": job.enqueued_at,
        }
        return _Attempt(self._start(f"run {job.name}", parent, attributes, links), parent)

    def chunk(self, namespace: str, jobs: Sequence[Job]) -> AbstractContextManager[None]:
        """Trace the block that calls a handler for several jobs, beside the spans of their attempts.

        The span has a link to the enqueue of each job. The spans that the handler starts are its children.
        """
        producers = [producer for job in jobs if (producer := _read(job.trace)) is not None]
        links = [trace.Link(trace.get_current_span(each).get_span_context()) for each in producers]
        name = jobs[0].name
        attributes = {**_common(namespace, name, "run", "process"), "messaging.batch.message_count": len(jobs)}
        parent = context.get_current()
        return _Chunk(self._start(f"run chunk of {name}", parent, attributes, links), parent)

    def _start(
        self, name: str, parent: context.Context, attributes: dict[str, AttributeValue], links: Sequence[trace.Link]
    ) -> trace.Span:
        """Return a span that has started, and whose errors this module records itself."""
        return self._tracer.start_span(
            name,
            parent,
            trace.SpanKind.CONSUMER,
            attributes,
            links,
            record_exception=False,
            set_status_on_exception=False,
        )


class _Current:
    """A span that is the current one during a block.

    :param parent: what else is in the context.
    """

    def __init__(self, span: trace.Span, parent: context.Context) -> None:
        self._span = span
        self._context = trace.set_span_in_context(span, parent)
        self._token: Token[context.Context] | None = None

    def _enter(self) -> None:
        self._token = context.attach(self._context)

    def _exit(self) -> None:
        assert self._token is not None
        context.detach(self._token)
        self._span.end()

    def _fail(self, error: BaseException) -> None:
        """Set the status of the span, and add the error to it.

        Not with ``record_exception``, because the error's own methods may raise.
        """
        kind = type_name_of(error)
        stack = format_error(error, traceback_of(error))[-_LONGEST_TEXT:]
        details = {
            "exception.type": kind,
            "exception.message": text_of(error)[:_LONGEST_TEXT],
            "exception.stacktrace": stack,
        }
        self._span.add_event("exception", details)
        self._span.set_attribute("error.type", kind)
        self._span.set_status(trace.StatusCode.ERROR, describe_error(error)[:_LONGEST_TEXT])


class _Enqueue(_Current):
    """The block that writes jobs, as a producer span."""

    def __init__(self, tracer: trace.Tracer, namespace: str, jobs: Sequence[EnqueuedJob]) -> None:
        self._jobs = jobs
        names = {job.name for job in jobs}
        name = next(iter(names)) if len(names) == 1 else ""
        attributes = _common(namespace, name, "enqueue", "send")
        if len(jobs) == 1:
            (job,) = jobs
            attributes["messaging.message.id"] = job.id
            if job.run_at > job.enqueued_at:
                attributes["asyncwork.job.run_at"] = job.run_at
        else:
            attributes["messaging.batch.message_count"] = len(jobs)
        span = tracer.start_span(f"enqueue {name}".rstrip(), None, trace.SpanKind.PRODUCER, attributes)
        super().__init__(span, context.get_current())

    def __enter__(self) -> str:
        self._enter()
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, self._context)
        return carrier.get(_FIELD, "")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self._fail(error)
        elif duplicates := sum(job.duplicate for job in self._jobs):
            self._span.set_attribute("asyncwork.duplicates", duplicates)
        self._exit()


class _Attempt(_Current):
    """The block that runs a job, as a consumer span."""

    def __enter__(self) -> RecordEnd:
        self._enter()
        return self._record

    def _record(self, outcome: str, error: BaseException | None, failed: bool) -> None:
        self._span.set_attribute("asyncwork.job.outcome", outcome)
        if failed and error is not None:
            self._fail(error)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._exit()


class _Chunk(_Current):
    """The block that calls a handler for several jobs, as a consumer span."""

    def __enter__(self) -> None:
        self._enter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self._fail(error)
        self._exit()


def _common(namespace: str, name: str, operation: str, kind: str) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
        "messaging.system": "asyncwork",
        "messaging.operation.name": operation,
        "messaging.operation.type": kind,
        "asyncwork.namespace": namespace,
    }
    if name:
        attributes["messaging.destination.name"] = name
    return attributes


def _read(traceparent: str) -> context.Context | None:
    """Return the context that a payload has brought along; ``None`` if it has none, or no valid one."""
    if not traceparent:
        return None
    carrier: Mapping[str, str] = {_FIELD: traceparent}
    found = _PROPAGATOR.extract(carrier, context.Context())
    return found if trace.get_current_span(found).get_span_context().is_valid else None
