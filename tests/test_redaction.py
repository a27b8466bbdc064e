"""Hidden values appear nowhere: in no record, page, response, stream, error text or digest."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import logging
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from starlette.routing import Route

from asyncwork import Client, JobQuery, UsageError
from asyncwork._admin.redaction import HIDDEN, Redaction
from asyncwork.gocraft import GocraftClient
from asyncwork.models.job_record import JobRecord
from asyncwork.web import api, gocraft_api, pages

from .conftest import LIMIT, Bench
from .payloads import failed, payload, put
from .test_cli import Here, here, signals_as_usual
from .test_web_cli import at
from .test_web_cli import serving as running_web
from .web_app import serving

__all__ = ["here", "signals_as_usual"]  # fixtures

PIN = "482913"
CARD = '4111-2222 é"x'
KEY = b"k" * 32


def hide(record: JobRecord) -> JobRecord:
    """Hide the pin and the card."""
    args = json.loads(record.args)
    if not isinstance(args, dict):
        return record
    return dataclasses.replace(record, args=json.dumps({**args, "pin": 0, "card": None}).encode())


def shown(args: object, text: str) -> JobRecord:
    """A record with a text wherever one may be, as it is shown."""
    raw = json.dumps(args).encode()
    record = JobRecord("dead", "", "wat", args=raw, err=text, traceback=text, checkin=text, size=999)
    return Redaction(hide).apply(record, KEY)


# Error texts


@pytest.mark.parametrize(
    ("args", "err", "expected"),
    [
        ({"pin": PIN}, f"ValueError: {PIN} is wrong", f"ValueError: {HIDDEN} is wrong"),
        ({"pin": int(PIN)}, f"KeyError: {PIN}", f"KeyError: {HIDDEN}"),
        ({"pin": PIN}, f"pin-{PIN}x", f"pin-{HIDDEN}x"),
        ({"card": "Ada Smith"}, "no ADA SMITH here", f"no {HIDDEN} here"),
        ({"card": CARD}, f"got {CARD!r}", f"got '{HIDDEN}'"),
        ({"card": 'it\'s\n"so"'}, repr('it\'s\n"so"'), f"'{HIDDEN}'"),
        ({"card": CARD}, json.dumps({"card": CARD}), f'{{"card": "{HIDDEN}"}}'),
        ({"card": CARD}, json.dumps(CARD, ensure_ascii=False), f'"{HIDDEN}"'),
        ({"card": CARD}, f"https://x/?c={quote(CARD)}", f"https://x/?c={HIDDEN}"),
        ({"card": {"numbers": [CARD, {"9999-8888": 7654321}]}}, f"{CARD} 9999-8888 7654321", " ".join([HIDDEN] * 3)),
        # A short value is hidden where it stands alone, and the text stays readable.
        ({"pin": 7}, "7 of 17 at line 77: 7", f"{HIDDEN} of 17 at line 77: {HIDDEN}"),
        ({"pin": "", "card": " "}, "nothing to hide", "nothing to hide"),
        # What is still shown needs not be hidden.
        ({"pin": "visible", "other": "visible"}, "visible", "visible"),
        # The longer one first.
        ({"pin": "abcd", "card": "abcdefgh"}, "abcdefgh abcd", f"{HIDDEN} {HIDDEN}"),
        # A text that was cut within a value.
        ({"card": "0123456789"}, "bad 01234567…", f"bad {HIDDEN}…"),
        ({"card": "0123456789"}, "…456789 is bad", f"…{HIDDEN} is bad"),
    ],
)
def test_a_hidden_value_is_hidden_where_it_is_quoted(args: object, err: str, expected: str) -> None:
    record = shown(args, err)
    assert (record.err, record.traceback, record.checkin) == (expected, expected, expected)


def test_too_many_hidden_values_hide_the_texts_as_a_whole() -> None:
    record = shown({"card": [str(number) for number in range(100_000)]}, "1")
    assert (record.err, record.traceback, record.checkin) == (HIDDEN, HIDDEN, HIDDEN)
    record = shown({"card": ["x" * 300_000]}, "y")
    assert record.err == HIDDEN
    assert shown({"card": ["x" * 300_000]}, "").err == ""


def test_the_size_does_not_tell_the_length_of_what_is_hidden() -> None:
    sizes = {shown({"card": "x" * length}, "x" * length).size for length in (5, 50, 5_000)}
    assert len(sizes) == 1


def test_what_is_not_redacted_is_as_it_was() -> None:
    record = JobRecord("dead", "h", name="wat", args=b'{"a":1}', err="1", size=9)
    assert Redaction(lambda record: record).apply(record, KEY) == record
    assert Redaction(None).apply(record, KEY) is record


@pytest.mark.parametrize("outcome", [None, "text", ValueError(PIN), SystemExit(PIN), StopIteration()])
def test_a_hook_that_fails_shows_nothing(outcome: Any, caplog: pytest.LogCaptureFixture) -> None:
    def broken(record: JobRecord) -> Any:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    redaction = Redaction(broken)
    for _ in range(3):
        record = redaction.apply(
            JobRecord("dead", "h", "wat", "an id", PIN.encode(), err=PIN, traceback=PIN, text=PIN, size=9), KEY
        )
        assert (record.name, record.id, record.args, record.size) == ("wat", "an id", b"null", 0)
        assert PIN not in repr(dataclasses.asdict(record))
    (line,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert line.getMessage().startswith("redact failed; the jobs that it fails for are hidden: ")
    assert PIN not in caplog.text


# Digests


async def handle_of(client: Client) -> str:
    return (await client.jobs("dead")).jobs[0].ref


async def test_a_handle_cannot_be_made_by_guessing(bench: Bench) -> None:
    guess = failed(args={"pin": PIN})
    await put(bench, "dead", guess)
    async with Client(bench.url, namespace=bench.namespace, redact=hide) as client:
        digest = (await handle_of(client)).split("~")[1]
    size = len(digest) // 2
    unkeyed = {hashlib.new(name, guess).hexdigest() for name in ("md5", "sha1", "sha256", "sha512", "blake2b")}
    unkeyed |= {hashlib.blake2b(guess, digest_size=size).hexdigest(), hashlib.blake2s(guess).hexdigest()}
    assert not any(digest in each or each.startswith(digest) for each in unkeyed)


async def test_every_process_makes_the_same_handles(bench: Bench) -> None:
    await put(bench, "dead", failed())
    clients = [Client(bench.url, namespace=bench.namespace) for _ in range(3)]
    try:
        handles = {await handle_of(client) for client in clients}
        assert len(handles) == 1
        (handle,) = handles
        assert await clients[1].job("dead", handle) is not None
        assert (await clients[2].delete("dead", [handle])).done == 1
    finally:
        for client in clients:
            await client.close()


async def test_a_deleted_digest_key_is_made_anew(bench: Bench) -> None:
    await put(bench, "dead", failed())
    async with Client(bench.url, namespace=bench.namespace) as client:
        before = await handle_of(client)
    await bench.redis.delete(bench.keys.digest_key)
    async with Client(bench.url, namespace=bench.namespace) as client:
        assert await client.job("dead", before) is None
        after = await handle_of(client)
        assert after != before
        assert await client.job("dead", after) is not None


@pytest.mark.parametrize("value", [b"", b"short", b"x" * 65, ["a list"]])
async def test_a_digest_key_that_is_none(bench: Bench, value: Any) -> None:
    if isinstance(value, list):
        await bench.redis.rpush(bench.keys.digest_key, *value)
    else:
        await bench.redis.set(bench.keys.digest_key, value)
    await put(bench, "dead", failed())
    async with Client(bench.url, namespace=bench.namespace) as client:
        assert await client.job("dead", await handle_of(client)) is not None
    await bench.redis.delete(bench.keys.digest_key)


async def test_the_id_of_a_periodic_job_does_not_tell_its_arguments(bench: Bench) -> None:
    args = {"pin": PIN}
    digest = hashlib.sha256(json.dumps(args).encode()).hexdigest()[:12]
    job_id = f"periodic:wat:0 0 * * * *:{digest}:1500000200"
    await put(bench, "dead", json.dumps({"name": "wat", "id": job_id, "t": 1_500_000_200, "args": args}).encode())
    async with Client(bench.url, namespace=bench.namespace, redact=hide) as client:
        (job,) = (await client.jobs("dead")).jobs
        assert digest not in job.id
        assert job.id.startswith("periodic:wat:0 0 * * * *:")
        # It is found and deleted by the id that is shown, and by that only: otherwise one could try out digests.
        assert [each.id for each in (await client.find(job.id)).jobs] == [job.id]
        assert (await client.find(job_id)).jobs == []
        assert not await GocraftClient(client).delete_dead_job(1_500_000_200, job_id)
        assert await GocraftClient(client).delete_dead_job(1_500_000_200, job.id)


# Every address


async def fill(bench: Bench) -> list[str]:
    """Put a job with the pin everywhere; return what must not be seen."""
    args = {"pin": PIN, "card": CARD, "n": 1}
    err = f"ValueError: {PIN}, {CARD!r}"
    await put(bench, "dead", failed(err=err, args=args, traceback=f"in f\n  {CARD}\n{err}"))
    await put(bench, "retry", failed(err=err, args=args))
    await put(bench, "queue:wat", payload(args=args))
    await put(bench, "scheduled", payload(args=args, id="periodic:wat:@hourly:" + "a" * 12 + ":4000000000"), at=4e9)
    await bench.enqueuer.enqueue("wat", {"pin": PIN, "card": CARD}, unique=True)
    for entry in (payload(args=args), b"not json " + PIN.encode()):
        record = {"from": "queue:wat", "reason": "no job", "at": 1, "payload": entry.decode()}
        await bench.redis.lpush(bench.keys.quarantine, json.dumps(record), b"raw " + PIN.encode())
    pool, worker = "b" * 24, "c" * 24
    digest = hashlib.sha256(json.dumps(args).encode()).hexdigest()[:12]
    periodic = [{"name": "wat", "spec": "@hourly", "key": f"wat:@hourly:{digest}", "args": args, "next": 4_000_000_000}]
    seconds, _ = await bench.redis.time()
    await bench.redis.sadd(bench.keys.worker_pools, pool)
    await bench.redis.hset(
        bench.keys.heartbeat(pool),
        mapping={
            "heartbeat_at": seconds,
            "started_at": seconds,
            "job_names": "wat",
            "concurrency": 1,
            "worker_ids": worker,
            "host": "here",
            "pid": 1,
            "periodic": json.dumps(periodic),
        },
    )
    observed = {
        "job_name": "wat",
        "job_id": f"periodic:wat:@hourly:{digest}:1500000200",
        "started_at": seconds,
        "args": json.dumps(args),
        "checkin": f"pin {PIN}",
        "checkin_at": seconds,
    }
    await bench.redis.hset(bench.keys.observation(worker), mapping=observed)
    await put(bench, "dead", failed(err=err, args=args), at=1_400_000_000)
    async with bench.enqueuer.batch("shown", on_done=("wat", args)) as batch:
        await batch.add("wat", args)
    await bench.redis.setbit(bench.keys.batch(batch.id)[2], 0, 1)
    await put(bench, "dead", failed(err=err, args=args, id=f"{batch.id}-0", traceback=err))
    flow = bench.enqueuer.flow("flowing")
    flow.add("wat", args, after=flow.add("wat", args))
    await flow.start()
    async with Client(bench.url, namespace=bench.namespace) as client:
        await client.delete("dead", [(await client.jobs("dead")).jobs[0].ref])
    gone = hashlib.sha256(PIN.encode()).hexdigest()[:12]
    await bench.redis.hset(bench.keys.periodic_fired, f"wat:@daily:{gone}", 1_500_000_000)
    # Changed at run time: edited, malformed but for its beginning, and added.
    edited = {"paused": False, "args": {"pin": PIN, "card": CARD, "n": 2}, "by": "ada", "at": 1}
    added = {"paused": True, "name": "wat", "spec": "@weekly", "args": args, "by": "ada", "at": 1}
    changes = {f"wat:@hourly:{digest}": edited, f"wat:@weekly:{digest}": added, f"wat:@yearly:{gone}": {"paused": PIN}}
    for key, change in changes.items():
        await bench.redis.hset(bench.keys.periodic_changes, key, json.dumps(change, separators=(",", ":")))
    for each in ("1500000200", json.dumps({"at": 1_500_000_300, "id": "1" * 24, "by": "ada"})):
        await bench.redis.zadd(bench.keys.periodic_runs(f"wat:@hourly:{digest}"), {each: 1_500_000_200})
    return [PIN, CARD, "4111-2222", "a" * 12, digest, gone]


async def clear(bench: Bench) -> None:
    await bench.redis.delete(*[key async for key in bench.redis.scan_iter(f"{bench.namespace}*")])


PLACES = ("dead", "retry", "scheduled", "queue:wat", "quarantine")


async def addresses(web: httpx.AsyncClient) -> list[str]:
    """Every address that can be looked at, with every job that there is."""
    found = []
    for route in (*pages.routes, *api.routes, *gocraft_api.routes):
        assert isinstance(route, Route)
        if "GET" in (route.methods or ()):
            found += [f"{route.path}{query}" for query in ("", "?name=wat&queue=wat&text=wat&location=dead")]
    for location in PLACES:
        jobs = (await web.get("/api/jobs", params={"location": location, "per_page": 200})).json()["jobs"]
        assert jobs, location
        for job in jobs:
            query = f"?location={quote(location)}&ref={quote(job['ref'])}"
            found += [f"/job{query}", f"/api/job{query}"]
            found += [f"{path}{quote(job['id'])}" for path in ("/jobs/", "/api/jobs/") if job["id"]]
        found += [f"{path}?location={quote(location)}" for path in ("/api/jobs", "/api/errors", "/confirm")]
        found += [
            f"/api/jobs?location={quote(location)}&text=wat",
            f"/confirm?action=delete&location={quote(location)}",
        ]
    batches = (await web.get("/api/batches")).json()["batches"]
    assert {each["name"] for each in batches} == {"shown", "flowing"}
    for each in batches:
        paths = ("/batch", "/api/batch", "/batch/nodes", "/api/batch/nodes")
        found += [f"{path}?id={each['id']}{query}" for path in paths for query in ("", "&group=0")]
        found += [f"{path}{each['id']}-{number}" for path in ("/jobs/", "/api/jobs/") for number in (0, 1)]
    return found


async def test_it_is_shown_at_no_address(bench: Bench) -> None:
    hidden = await fill(bench)
    async with serving(bench) as (_, web):
        # That this test looks where there is something to see.
        for path in ("/dead", "/busy", "/periodic", "/queue?name=wat", "/quarantine", "/api/pools", "/api/periodic"):
            assert PIN in (await web.get(path, headers={"accept": "text/html"})).text, path
    async with serving(bench, redact=hide) as (_, web):
        for path in await addresses(web):
            for accept in ("text/html", "*/*"):
                response = await web.get(path, headers={"accept": accept})
                # Streams are refused, because nothing hides values in them.
                assert response.status_code in ((403,) if "/stream" in path else (200, 400, 404)), path
                for value in hidden:
                    assert value not in response.text, (path, accept)
        for text in hidden:
            for location in PLACES:
                asked = {"location": location, "text": text}
                assert (await web.get("/api/jobs", params=asked)).json()["jobs"] == []
                assert (await web.post("/api/jobs/count", json={**asked, "all": 1})).json()["done"] == 0
            assert (await web.get("/api/find", params={"text": text})).json()["jobs"] == []
    await clear(bench)


async def streamed(app: Any, path: str, query: str) -> str:
    """What the stream of a page sends until it has sent the page's live parts."""
    seen, enough = bytearray(), asyncio.Event()

    async def receive() -> Any:
        await enough.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        seen.extend(message.get("body", b""))
        if b"event: sections" in seen:
            enough.set()

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/live",
        "query_string": f"path={quote(path)}&{query}".encode(),
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
    }
    async with asyncio.timeout(LIMIT):
        await app(scope, receive, send)
    return seen.decode()


async def test_it_is_not_in_the_stream(bench: Bench) -> None:
    hidden = await fill(bench)
    async with serving(bench, redact=hide) as (app, web):
        job = (await web.get("/api/jobs?location=dead")).json()["jobs"][0]
        queries = {
            "/queue": "name=wat",
            "/job": f"location=dead&ref={quote(job['ref'])}",
            "/find": "text=wat",
            "/confirm": "action=delete&location=dead",
        }
        for path in pages.PAGES:
            seen = await streamed(app, path, queries.get(path, ""))
            for value in hidden:
                assert value not in seen, path
    await clear(bench)


async def test_the_client_hides_it_everywhere(bench: Bench) -> None:
    hidden = await fill(bench)
    async with Client(bench.url, namespace=bench.namespace, redact=hide) as client:
        found: list[Any] = [
            *[await client.jobs(location, per_page=200) for location in PLACES],
            *[await client.error_kinds(location) for location in PLACES],
            *[await client.search(location, JobQuery(name="wat")) for location in PLACES],
            await client.overview(),
            *await client.heartbeats(),
            *await client.observations(),
            await client.jobs("busy"),
            *await client.periodic_jobs(),
            *[each for state in await client.periodic_jobs() for each in await client.periodic_runs(state.key)],
            await client.find("wat"),
        ]
    texts = str([dataclasses.asdict(each) for each in found])
    assert "periodic:wat:@hourly:" in texts
    for value in hidden:
        assert value not in texts
    await clear(bench)


async def test_a_periodic_job_is_changed_by_the_key_that_is_shown(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    hidden = await fill(bench)
    caplog.set_level(logging.INFO, "asyncwork")
    async with Client(bench.url, namespace=bench.namespace, redact=hide) as client:
        (edited,) = [each for each in await client.periodic_jobs() if each.edited]
        assert (json.loads(edited.args)["pin"], json.loads(edited.code_args or b"")["pin"]) == (0, 0)
        assert edited.code_spec == edited.spec == "@hourly"
        await client.pause_periodic(edited.key)
        job_id = await client.run_periodic(edited.key)
        runs = await client.periodic_runs(edited.key)
        assert runs[0].job_id == job_id
        assert any(each.job_id.startswith(f"periodic:{edited.key}:") for each in runs)
        await client.reset_periodic(edited.key)
        (state,) = [each for each in await client.periodic_jobs() if each.key == edited.key]
        assert (state.paused, state.edited) == (True, False)
        (added,) = [each for each in await client.periodic_jobs() if each.added]
        await client.remove_periodic(added.key)
        key = await client.add_periodic("@daily", "wat", {"pin": PIN})
        assert key in {each.key for each in await client.periodic_jobs()}
        # Otherwise one could try out digests.
        with pytest.raises(UsageError, match="there is no periodic job") as raised:
            await client.pause_periodic(f"wat:@hourly:{hidden[4]}")
        with pytest.raises(UsageError, match="was added before") as again:
            await client.add_periodic("@daily", "wat", {"pin": PIN})
        digest = hashlib.sha256(json.dumps({"pin": PIN}, separators=(",", ":")).encode()).hexdigest()[:12]
    assert "periodic job 'wat:@hourly:" in str(raised.value)
    for value in (*hidden[:3], hidden[4], digest):
        assert value not in f"{key} {again.value} {caplog.text}"
    await clear(bench)


# The command line


HOOK = """
import dataclasses

def hide(record):
    return dataclasses.replace(record, args=b"null")

async def later(record):
    return record

text = "no function"
"""


async def test_the_command_line_takes_a_function(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "hooks.py").write_text(HOOK)
    await put(bench, "dead", failed(err=f"bad {PIN}", args={"pin": PIN}))
    env = {"ASYNCWORK_WEB_REDACT": "hooks:hide"}
    for arguments, options in ((("--redact", "hooks:hide"), {}), ((), {"env": env})):
        async with running_web(*at(bench), *arguments, cwd=tmp_path, **options) as ui:
            (job,) = (await ui.get("/dead_jobs")).json()["jobs"]
            assert (job["args"], job["err"]) == (None, f"bad {HIDDEN}")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("hooks", "--redact: 'hooks' does not name a function: write module:function"),
        ("hooks:nothing", "--redact: hooks:nothing cannot be loaded"),
        ("hooks:text", "--redact: hooks:text is a str, not a function"),
        ("hooks:later", "--redact: hooks:later is an async function: define it with a plain `def`"),
        ("nohooks:hide", "--redact: there is no module 'nohooks'"),
    ],
)
def test_what_is_no_function(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, message: str
) -> None:
    (tmp_path / "hooks.py").write_text(HOOK)
    monkeypatch.chdir(tmp_path)
    code, out, err = here("web", "--redact", value)
    assert (code, out) == (2, "")
    assert message in err
