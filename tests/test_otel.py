"""Traces of jobs, from the enqueue to the end of each attempt."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from asyncwork import (
    Client,
    Discard,
    EnqueueManyError,
    Enqueuer,
    Job,
    RateLimited,
    RedisUnavailable,
    Retry,
    Snooze,
    UsageError,
    WorkerPool,
    sync,
)
from asyncwork.otel import Tracing
from asyncwork.testing import open_jobs

from .conftest import Bench, until

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Spans:
    """The spans that have ended, in the order in which they did."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracing = Tracing(self.provider)

    @property
    def all(self) -> Sequence[ReadableSpan]:
        return self._exporter.get_finished_spans()

    def of(self, kind: SpanKind) -> list[ReadableSpan]:
        return [span for span in self.all if span.kind is kind]

    @property
    def sent(self) -> list[ReadableSpan]:
        return self.of(SpanKind.PRODUCER)

    @property
    def run(self) -> list[ReadableSpan]:
        return self.of(SpanKind.CONSUMER)

    @property
    def outcomes(self) -> list[Any]:
        return [attribute(span, "asyncwork.job.outcome") for span in self.run]


@pytest.fixture
def spans() -> Spans:
    return Spans()


def attribute(span: ReadableSpan, name: str) -> Any:
    return (span.attributes or {}).get(name)


def links(span: ReadableSpan) -> list[tuple[int, int]]:
    return [(link.context.trace_id, link.context.span_id) for link in span.links]


def ids(span: ReadableSpan) -> tuple[int, int]:
    assert span.context is not None
    return span.context.trace_id, span.context.span_id


def traced(bench: Bench, spans: Spans) -> Enqueuer:
    return Enqueuer(bench.url, namespace=bench.namespace, tracing=spans.tracing)


async def ran(pool: WorkerPool[Any]) -> None:
    async with pool.running():
        await pool.drain()


async def test_an_attempt_is_linked_to_its_enqueue_and_holds_the_spans_of_its_handler(
    bench: Bench, spans: Spans
) -> None:
    pool = bench.pool(tracing=spans.tracing)
    tracer = spans.provider.get_tracer("app")

    @pool.job
    async def send_email(address: str) -> None:
        await asyncio.sleep(0)
        with tracer.start_as_current_span("smtp"):
            await asyncio.sleep(0)

    @pool.job
    def resize(path: str) -> None:
        with tracer.start_as_current_span("resize image"):
            pass

    with tracer.start_as_current_span("request"):
        first = await send_email.enqueue("a@example.com")
    second = await resize.enqueue("a.png")
    await ran(pool)
    by_name = {span.name: span for span in spans.all}
    request, sent, run, smtp = (by_name[n] for n in ("request", "enqueue send_email", "run send_email", "smtp"))
    assert sent.parent is not None
    assert (sent.parent.trace_id, sent.parent.span_id) == ids(request)
    assert links(run) == [ids(sent)]
    assert run.parent is None
    assert ids(run)[0] != ids(sent)[0]
    assert smtp.parent is not None
    assert smtp.parent.span_id == ids(run)[1]
    # In its thread as well.
    assert (image := by_name["resize image"].parent) is not None
    assert image.span_id == ids(by_name["run resize"])[1]
    common = {
        "messaging.system": "asyncwork",
        "messaging.destination.name": "send_email",
        "messaging.message.id": first.id,
        "asyncwork.namespace": bench.namespace,
    }
    assert sent.attributes == {**common, "messaging.operation.name": "enqueue", "messaging.operation.type": "send"}
    assert run.attributes == {
        **common,
        "messaging.operation.name": "run",
        "messaging.operation.type": "process",
        "asyncwork.job.attempt": 1,
        "asyncwork.job.enqueued_at": first.enqueued_at,
        "asyncwork.job.outcome": "done",
    }
    assert attribute(by_name["run resize"], "messaging.message.id") == second.id
    assert {span.status.status_code for span in spans.all} == {StatusCode.UNSET}


async def test_an_attempt_may_belong_to_the_trace_of_its_enqueue(bench: Bench, spans: Spans) -> None:
    pool = bench.pool(tracing=Tracing(spans.provider, same_trace=True))

    @pool.job
    async def outer() -> None:
        await inner.enqueue()

    @pool.job
    async def inner() -> None: ...

    await outer.enqueue()
    await ran(pool)
    assert {ids(span)[0] for span in spans.all} == {ids(spans.sent[0])[0]}
    parents = {span.name: span.parent.span_id if span.parent else None for span in spans.all}
    found = {span.name: ids(span)[1] for span in spans.all}
    assert parents == {
        "enqueue outer": None,
        "run outer": found["enqueue outer"],
        "enqueue inner": found["run outer"],
        "run inner": found["enqueue inner"],
    }
    assert [links(span) for span in spans.run if span.name == "run inner"] == [[ids(spans.sent[1])]]


async def test_jobs_that_are_enqueued_together_have_one_producer(bench: Bench, spans: Spans) -> None:
    pool = bench.pool(tracing=spans.tracing)

    @pool.job
    async def wat(n: int) -> None: ...

    @pool.job
    async def other() -> None: ...

    await wat.enqueue_many([wat.call(1), wat.call(2)])
    async with traced(bench, spans) as enqueuer:
        await enqueuer.enqueue_many([("wat", {"n": 3}), ("other", None)])
        assert await enqueuer.enqueue_many([]) == []
    await ran(pool)
    first, second = spans.sent
    assert (first.name, second.name) == ("enqueue wat", "enqueue")
    assert attribute(first, "messaging.batch.message_count") == attribute(second, "messaging.batch.message_count") == 2
    assert attribute(first, "messaging.message.id") is None
    assert attribute(second, "messaging.destination.name") is None
    assert sorted(links(span)[0] for span in spans.run) == sorted([ids(first), ids(first), ids(second), ids(second)])


async def test_the_blocking_enqueuer_traces_as_well(bench: Bench, spans: Spans) -> None:
    pool = bench.pool(tracing=spans.tracing)

    @pool.job
    async def wat(n: int = 0) -> None: ...

    def enqueue() -> None:
        wat.sync.enqueue(1)
        wat.sync.enqueue_many([wat.call(2), wat.call(3)])
        with sync.Enqueuer(bench.url, namespace=bench.namespace, tracing=spans.tracing) as enqueuer:
            enqueuer.enqueue("wat")

    await asyncio.to_thread(enqueue)
    pool.sync_enqueuer.close()
    await ran(pool)
    one, many, named = map(ids, spans.sent)
    assert sorted(links(span)[0] for span in spans.run) == sorted([one, many, many, named])


async def test_scheduled_and_unique_jobs_keep_their_trace(bench: Bench, spans: Spans) -> None:
    now = [1_000_000_000.0]
    pool = bench.pool(tracing=spans.tracing, clock=lambda: now[0])

    @pool.job
    async def wat(n: int) -> None: ...

    await wat.options(delay=60).enqueue(1)
    await wat.options(unique={"key": 1}).enqueue(2)
    # It runs in the place of the one that waits, with its arguments and its trace.
    duplicate = await wat.options(unique={"key": 1}).enqueue(3)
    assert duplicate.duplicate
    scheduled, unique, newer = spans.sent
    assert attribute(scheduled, "asyncwork.job.run_at") == 1_000_000_060
    assert attribute(unique, "asyncwork.duplicates") is None
    assert attribute(newer, "asyncwork.duplicates") == 1
    async with pool.running():
        await until(lambda: len(spans.run) == 2)
    assert sorted(links(span)[0] for span in spans.run) == sorted([ids(scheduled), ids(newer)])
    assert spans.outcomes == ["done", "done"]


async def test_outcomes_are_told_apart(bench: Bench, spans: Spans) -> None:
    pool = bench.pool(tracing=spans.tracing)

    @pool.job(max_fails=2, backoff=lambda _: 0)
    async def fails() -> None:
        raise ValueError("boom")

    @pool.job(max_fails=1, skip_dead=True)
    async def skips() -> None:
        raise Retry("later", after=0)

    @pool.job
    async def discards() -> None:
        raise Discard("unwanted")

    @pool.job
    async def snoozes(job: Job) -> None:
        if len([span for span in spans.run if span.name == "run snoozes"]) == 0:
            raise Snooze(0)

    @pool.job
    async def limits(job: Job) -> None:
        if len([span for span in spans.run if span.name == "run limits"]) == 0:
            raise RateLimited(1)

    @pool.job(timeout=0.01, max_fails=1)
    async def slow() -> None:
        await asyncio.Event().wait()

    @pool.job
    async def waits(job: Job, how: str) -> None:
        if how == "group":
            async with asyncio.TaskGroup() as group:
                group.create_task(job.sleep("pause", 2))
        else:
            await asyncio.gather(job.sleep("pause", 2), return_exceptions=True)

    @pool.job
    async def cannot_be_recorded(job: Job) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(job.step("charge", lambda: object()))

    for task in (fails, skips, discards, snoozes, limits, slow, cannot_be_recorded):
        await task.enqueue()
    await waits.enqueue("group")
    await waits.enqueue("caught")
    async with pool.running():
        await until(lambda: len(spans.run) == 14)
    found = {
        name: [
            (
                attribute(span, "asyncwork.job.attempt"),
                attribute(span, "asyncwork.job.outcome"),
                span.status.status_code,
            )
            for span in spans.run
            if span.name == f"run {name}"
        ]
        for name in ("fails", "skips", "discards", "snoozes", "limits", "slow", "cannot_be_recorded")
    }
    assert found == {
        "fails": [(1, "retried", StatusCode.ERROR), (2, "dead", StatusCode.ERROR)],
        "skips": [(1, "dropped", StatusCode.ERROR)],
        "discards": [(1, "dropped", StatusCode.UNSET)],
        "snoozes": [(1, "snoozed", StatusCode.UNSET), (1, "done", StatusCode.UNSET)],
        "limits": [(1, "rate_limited", StatusCode.UNSET), (1, "done", StatusCode.UNSET)],
        "slow": [(1, "dead", StatusCode.ERROR)],
        "cannot_be_recorded": [(1, "dead", StatusCode.ERROR)],
    }
    waiting = [span for span in spans.run if span.name == "run waits"]
    assert Counter(attribute(span, "asyncwork.job.outcome") for span in waiting) == {"snoozed": 2, "done": 2}
    assert {span.status.status_code for span in waiting} == {StatusCode.UNSET}
    errors = {span.name: attribute(span, "error.type") for span in spans.run if span.events}
    assert errors == {
        "run fails": "ValueError",
        "run skips": "Retry",
        "run slow": "JobTimeoutError",
        "run cannot_be_recorded": "StepError",
    }
    first = next(span for span in spans.run if span.name == "run fails")
    assert first.status.description == "ValueError: boom"
    (event,) = first.events
    assert event.attributes is not None
    assert event.attributes["exception.message"] == "boom"
    assert 'raise ValueError("boom")' in str(event.attributes["exception.stacktrace"])
    # Both attempts have the same producer.
    sent = next(span for span in spans.sent if span.name == "enqueue fails")
    assert {links(span)[0] for span in spans.run if span.name == "run fails"} == {ids(sent)}
    assert {json.loads(payload)["err"] for payload, _ in await bench.job_set("dead")} >= {"ValueError: boom"}


async def test_a_job_that_is_cancelled_has_not_failed(bench: Bench, spans: Spans) -> None:
    pool = bench.pool(tracing=spans.tracing)
    started = asyncio.Event()

    @pool.job
    async def wat() -> None:
        started.set()
        await asyncio.Event().wait()

    job = await wat.enqueue()
    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        await started.wait()
        await client.cancel(job.id, "not needed")
        await until(lambda: spans.run)
    (span,) = spans.run
    assert (spans.outcomes, span.status.status_code) == (["cancelled"], StatusCode.UNSET)


@pytest.mark.parametrize("error", [ValueError("boom"), Snooze(60)], ids=["fails", "snoozes"])
async def test_a_cancelled_job_whose_handler_raises_another_exception(
    bench: Bench, spans: Spans, error: Exception
) -> None:
    pool = bench.pool(tracing=spans.tracing)
    started = asyncio.Event()

    @pool.job
    async def wat() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise error from None

    job = await wat.enqueue()
    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        await started.wait()
        await client.cancel(job.id, "not needed")
        await until(lambda: spans.run)
    (span,) = spans.run
    status = StatusCode.ERROR if isinstance(error, ValueError) else StatusCode.UNSET
    assert (spans.outcomes, span.status.status_code) == (["cancelled"], status)


async def test_a_job_that_is_run_in_place_is_traced(bench: Bench, spans: Spans) -> None:
    pool: WorkerPool[Any] = WorkerPool("redis://127.0.0.1:1/0", namespace="production", tracing=spans.tracing)

    @pool.job(max_fails=1)
    async def wat(job: Job, n: int) -> None:
        if n == 2:
            raise ValueError("boom")

    with open_jobs(pool, bench.url) as jobs, jobs.eager(raise_errors=False):
        await wat.enqueue(1)
        await pool.enqueuer.enqueue("wat", {"n": 2})
        wat.sync.enqueue(3)
        await pool.enqueuer.enqueue_many([wat.call(4)])
        assert {attribute(span, "asyncwork.namespace") for span in spans.all} == {jobs.namespace}
    assert spans.outcomes == ["done", "dead", "done", "done"]
    assert [links(span) for span in spans.run] == [[ids(span)] for span in spans.sent]


async def test_a_job_that_a_stop_cuts_off_has_not_failed(bench: Bench, spans: Spans) -> None:
    pool = bench.pool(tracing=spans.tracing, grace=0)
    started = asyncio.Event()

    @pool.job
    async def wat() -> None:
        started.set()
        await asyncio.Event().wait()

    await wat.enqueue()
    async with pool.running():
        await started.wait()
    (span,) = spans.run
    assert (spans.outcomes, span.status.status_code) == (["stopped"], StatusCode.UNSET)
    (payload,) = await bench.waiting("wat")
    assert "trace" in json.loads(payload)


async def test_an_error_that_has_no_text_is_recorded(bench: Bench, spans: Spans) -> None:
    pool = bench.pool(tracing=spans.tracing)

    class SilentError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    @pool.job(max_fails=1)
    async def wat() -> None:
        raise SilentError

    await wat.enqueue()
    await ran(pool)
    (span,) = spans.run
    assert spans.outcomes == ["dead"]
    assert "SilentError: <str() failed" in (span.status.description or "")


async def test_a_periodic_job_has_a_trace_of_its_own(bench: Bench, spans: Spans) -> None:
    pool = bench.pool(tracing=spans.tracing)

    @pool.periodic("* * * * * *")
    async def tick() -> None: ...

    async with pool.running():
        await until(lambda: spans.run)
    span = spans.run[0]
    assert (span.parent, links(span), spans.sent) == (None, [], [])
    assert str(attribute(span, "messaging.message.id")).startswith("periodic:tick:")


@pytest.mark.parametrize(
    "field",
    [
        {},
        {"trace": None},
        {"trace": 1},
        {"trace": ""},
        {"trace": "wat"},
        {"trace": "00-" + "0" * 32 + "-" + "0" * 16 + "-01"},
        {"trace": {"a": [1]}},
    ],
)
@pytest.mark.parametrize("same_trace", [False, True])
async def test_without_a_valid_field_an_attempt_has_a_trace_of_its_own(
    bench: Bench, spans: Spans, field: dict[str, Any], same_trace: bool
) -> None:
    pool = bench.pool(tracing=Tracing(spans.provider, same_trace=same_trace))

    @pool.job
    async def wat() -> None: ...

    payload = json.dumps({"name": "wat", "id": "1", "t": 1, "args": None, **field})
    await bench.redis.lpush(bench.keys.queue("wat"), payload)
    await ran(pool)
    (span,) = spans.run
    assert (span.parent, links(span), spans.outcomes) == (None, [], ["done"])
    assert attribute(span, "messaging.message.id") == "1"


async def test_a_field_of_another_program_is_a_link(bench: Bench, spans: Spans) -> None:
    pool = bench.pool(tracing=spans.tracing)

    @pool.job
    async def wat() -> None: ...

    payload = json.dumps({"name": "wat", "id": "1", "t": 1, "args": None, "trace": PARENT})
    await bench.redis.lpush(bench.keys.queue("wat"), payload)
    await ran(pool)
    (span,) = spans.run
    assert links(span) == [(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331)]


async def test_without_tracing_a_payload_has_no_further_field(bench: Bench, spans: Spans) -> None:
    await bench.enqueuer.enqueue("plain")
    async with traced(bench, spans) as enqueuer:
        await enqueuer.enqueue("traced", timeout=5, expires=60)
    (plain,), (written,) = await bench.waiting("plain"), await bench.waiting("traced")
    assert list(json.loads(plain)) == ["name", "id", "t", "args"]
    assert list(json.loads(written)) == ["name", "id", "t", "args", "expires", "timeout", "trace"]
    trace_id, span_id = ids(spans.sent[0])
    # The last two digits are flags, which differ between SDKs.
    assert Job.decode(written).trace[:-2] == f"00-{trace_id:032x}-{span_id:016x}-"
    assert Job.decode(plain).trace == ""
    pool = bench.pool()

    @pool.job
    async def wat() -> None: ...

    assert pool._registry.job_types(None, "")["wat"].call is pool._registry.handlers["wat"].call


async def test_without_an_sdk_nothing_is_written(bench: Bench) -> None:
    async with Enqueuer(bench.url, namespace=bench.namespace, tracing=Tracing(trace.NoOpTracerProvider())) as enqueuer:
        await enqueuer.enqueue("wat")
    (payload,) = await bench.waiting("wat")
    assert b"trace" not in payload


async def test_an_enqueue_that_fails_is_an_error(bench: Bench, spans: Spans) -> None:
    await bench.redis.set(bench.keys.queue("wat"), "not a list")
    async with traced(bench, spans) as enqueuer:
        with pytest.raises(RedisUnavailable):
            await enqueuer.enqueue("wat")
        with pytest.raises(EnqueueManyError):
            await enqueuer.enqueue_many([("wat", None), ("wat", None)])
    assert [attribute(span, "error.type") for span in spans.sent] == ["RedisUnavailable", "EnqueueManyError"]
    assert {span.status.status_code for span in spans.sent} == {StatusCode.ERROR}
    await bench.redis.delete(bench.keys.queue("wat"))


async def test_a_reconfigured_pool_traces_still(bench: Bench, spans: Spans) -> None:
    pool = bench.pool(tracing=spans.tracing)
    pool.reconfigure(concurrency=3)

    @pool.job
    async def wat() -> None: ...

    await wat.enqueue()
    await ran(pool)
    assert links(spans.run[0]) == [ids(spans.sent[0])]


@pytest.mark.parametrize("wrong", [Tracing, object(), "wat", trace.NoOpTracerProvider()])
def test_what_cannot_trace_is_refused(wrong: Any) -> None:
    for make in (WorkerPool, Enqueuer, sync.Enqueuer):
        with pytest.raises(UsageError, match=r"tracing must be an asyncwork\.otel\.Tracing\(\)"):
            make(tracing=wrong)
    with pytest.raises(UsageError, match="tracer_provider must be a TracerProvider"):
        Tracing("wat")  # type: ignore[arg-type]


async def test_a_chunk_has_a_span_with_a_link_to_each_enqueue(bench: Bench, spans: Spans) -> None:
    pool = bench.pool(tracing=spans.tracing)
    tracer = spans.provider.get_tracer("app")

    @pool.job(chunk=3, wait=600)
    async def wat(jobs: list[Job]) -> dict[str, Any]:
        with tracer.start_as_current_span("inner"):
            return {jobs[0].id: ValueError("not this one")}

    for _ in range(3):
        await wat.enqueue()
    async with pool.running():
        await pool.drain()
    (chunk,) = [span for span in spans.run if span.name == "run chunk of wat"]
    assert attribute(chunk, "messaging.batch.message_count") == 3
    assert sorted(links(chunk)) == sorted(map(ids, spans.sent))
    (inner,) = [span for span in spans.all if span.name == "inner"]
    assert inner.parent is not None
    assert inner.parent.span_id == chunk.context.span_id
    attempts = [span for span in spans.run if span.name == "run wat"]
    assert sorted(attribute(each, "asyncwork.job.outcome") for each in attempts) == ["done", "done", "retried"]


async def test_the_span_of_a_chunk_that_fails_has_the_error(bench: Bench, spans: Spans) -> None:
    pool = bench.pool(tracing=spans.tracing)

    @pool.job(chunk=2, wait=600, max_fails=1)
    async def wat(jobs: list[Job]) -> None:
        raise ValueError("all of them")

    await wat.enqueue_many([wat.call(), wat.call()])
    async with pool.running():
        await pool.drain()
    (chunk,) = [span for span in spans.run if span.name == "run chunk of wat"]
    assert chunk.status.status_code is StatusCode.ERROR
    assert attribute(chunk, "error.type") == "ValueError"
