"""Demo namespace, and screenshots of its pages: ``python -m tests.web_screens``."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import struct
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from playwright.async_api import Browser, async_playwright
from redis.asyncio import Redis

from asyncwork._jobs import step_fields
from asyncwork._redis import heartbeat_fields
from asyncwork._redis.keys import Keys
from asyncwork._worker.attempt_history import AttemptHistory
from asyncwork.embedded import EmbeddedRedis
from asyncwork.models.periodic import PeriodicState
from asyncwork.models.pools import Heartbeat
from asyncwork.web import pages

from .browser import CHROMIUM, SWITCHES, Server

NAMESPACE = "shop"
# Seconds that the pages are given to settle, and from one beat of the pools to the next.
_SETTLE = 0.4
_BEAT = 2.0


class Flow(NamedTuple):
    """The traffic of a queue.

    :ivar rate: jobs a minute.
    :ivar failing: the share that fails.
    :ivar run_ms: how long one runs, milliseconds.
    :ivar wait: how long one waits, seconds.
    :ivar waiting: how many wait now.
    """

    rate: float
    failing: float
    run_ms: float
    wait: float
    waiting: int


QUEUES = {
    "send_email": Flow(420, 0.004, 180, 0.4, 12),
    "resize_image": Flow(260, 0.001, 640, 1.2, 38),
    "charge_card": Flow(95, 0.021, 820, 0.3, 0),
    "sync_inventory": Flow(60, 0.0, 1_900, 2.0, 4),
    "generate_invoice": Flow(48, 0.002, 350, 0.6, 1),
    "update_search_index": Flow(310, 0.0, 45, 0.1, 0),
    "webhook_delivery": Flow(180, 0.052, 260, 0.8, 7),
    "export_orders": Flow(2, 0.08, 42_000, 30.0, 3),
    "thumbnail_video": Flow(9, 0.03, 18_000, 14.0, 26),
    "fraud_check": Flow(95, 0.0, 120, 0.2, 0),
    "push_notification": Flow(130, 0.009, 70, 0.2, 2),
    "refresh_prices": Flow(15, 0.0, 2_600, 1.0, 0),
    "import_catalog": Flow(1, 0.0, 95_000, 40.0, 1_204),
    "cleanup_sessions": Flow(1, 0.0, 800, 0.3, 0),
    "legacy_report": Flow(0, 0.0, 0, 0.0, 5),
}
ERRORS = {
    "charge_card": ("StripeError: card_declined (request 9f3c1b7a8842)", 14),
    "webhook_delivery": ("ConnectError: hooks.example.com:7741 refused the connection after 10.0 s", 31),
    "export_orders": ("MemoryError: 41 columns of 1204455 rows", 2),
    "send_email": ("SMTPRecipientsRefused: mailbox of order 88412 is unavailable", 9),
    "thumbnail_video": ("FFmpegError: moov atom not found in '/uploads/7f3a91.mp4'", 6),
}
TRACEBACK = """Traceback (most recent call last):
  File "/app/shop/payments.py", line 88, in charge
    answer = await stripe.charge(card, amount_cents, idempotency_key=job.id)
  File "/app/shop/stripe.py", line 41, in charge
    raise StripeError(body["error"]["code"])
shop.stripe.StripeError: card_declined (request 9f3c1b7a8842)
"""
RUNNING = [
    ("import_catalog", 1_460, "row 412,000 of 1,204,455"),
    ("export_orders", 38, "writing parquet, 61 %"),
    ("thumbnail_video", 12, "frame 2210"),
    ("thumbnail_video", 4, "frame 610"),
    ("webhook_delivery", 3, ""),
    ("charge_card", 0.8, ""),
    ("resize_image", 0.6, ""),
    ("send_email", 0.2, ""),
]
# The ids of jobs that have ended.
ENDED = {"done": "5f2b7c0e9a6d4b1c8e3f0a2d", "cancelled": "7c0e9a6d4b1c8e3f0a2d5f2b"}
# The id of a job that takes steps.
STEPPING = "0e9a6d4b1c8e3f0a2d5f2b7c"
HOSTS = (("worker-1", 4_011), ("worker-2", 4_012), ("media-1", 881))

_CELL = struct.Struct(">IIIIqq")
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def _args(name: str, rng: random.Random) -> dict[str, Any]:
    order = rng.randrange(10_000, 99_999)
    known: dict[str, dict[str, Any]] = {
        "send_email": {"to": f"customer{order}@example.com", "template": "order_shipped", "order": order},
        "charge_card": {
            "order": order,
            "amount": {"cents": rng.randrange(500, 90_000), "currency": "EUR"},
            "customer": {"id": 90_071_992_547_409_931 + order, "address": {"city": "Łódź", "zip": "90-001"}},
            "items": [{"sku": "A-1", "qty": 2}, {"sku": "B-12", "qty": 1}],
            "note": "leave at the door\nring twice",
        },
        "webhook_delivery": {"url": f"https://hooks.example.com/v2/{order}", "event": "order.paid"},
        "thumbnail_video": {"path": f"/uploads/{order:x}.mp4", "sizes": [160, 320, 640]},
        "export_orders": {"since": "2024-01-01", "columns": 41, "format": "parquet"},
    }
    return known.get(name, {"id": order, "shard": order % 16})


def _counted(name: str, at: int, step: int, share: float = 1.0) -> list[int]:
    """Return the metrics of one interval: processed, failed, retried, dead, run_ms, wait_ms."""
    flow, rng = QUEUES[name], random.Random(f"{name} {at}")
    wave = 1 + 0.3 * math.sin(at / step / 9 + len(name))
    processed = round(flow.rate * step / _MINUTE * wave * rng.uniform(0.85, 1.1) * share)
    # Now and then something is amiss.
    amiss = 5 if at // step % 37 in (5, 6) else 1
    failed = min(processed, round(processed * flow.failing * amiss * rng.uniform(0.3, 1.8)))
    wait_ms = processed * flow.wait * 1_000 * rng.uniform(0.6, 1.6) * (1 + amiss) / 2
    dead = sum(rng.random() < 0.03 for _ in range(min(failed, 99)))
    run_ms = processed * flow.run_ms * rng.uniform(0.8, 1.2)
    return [processed, failed, failed - dead, dead, round(run_ms), round(wait_ms)]


@dataclass
class Demo:
    """A demo namespace in Redis; its state changes while :meth:`live` runs.

    :param redis: answers in bytes.
    """

    redis: Any
    keys: Keys = field(default_factory=lambda: Keys(NAMESPACE))
    rng: random.Random = field(default_factory=lambda: random.Random(7))

    def _id(self) -> str:
        return f"{self.rng.getrandbits(96):024x}"

    def _payload(self, name: str, age: float, **more: object) -> bytes:
        job = {"name": name, "id": self._id(), "t": int(time.time() - age), "args": _args(name, self.rng), **more}
        return json.dumps(job, ensure_ascii=False, separators=(",", ":")).encode()

    async def fill(self) -> None:
        """Write what stands still."""
        await self.redis.sadd(self.keys.known_jobs, *QUEUES)
        await self.redis.set(self.keys.paused("import_catalog"), "1")
        caps = {"charge_card": 8, "export_orders": 2}
        await self.redis.mset({self.keys.max_concurrency(name): cap for name, cap in caps.items()})
        bounded = json.dumps({"chunk": 100, "wait": 0.5, "max_waiting": 5000})
        await self.redis.hset(self.keys.queue_options, "update_search_index", bounded)
        rates = {"code:resize_image": "600/60/30", "set:export_orders": "5/60/5"}
        await self.redis.hset(self.keys.rates, mapping=rates)
        for name, flow in QUEUES.items():
            ages = [flow.wait + 40 * n / flow.waiting for n in range(flow.waiting, 0, -1)]
            if ages:
                await self.redis.lpush(self.keys.queue(name), *(self._payload(name, age) for age in ages))
        for n, name in enumerate(("sync_inventory", "generate_invoice", "sync_inventory")):
            held = {"id": self._id(), "since": int(time.time() - 40 - 700 * n), "until": ("done", "success")[n % 2]}
            following = {"next_id": self._id()} if n == 2 else {}
            await self.redis.hset(self.keys.hold(name, f"{n:064x}"), mapping=held | following)
        await self._fill_shelves()
        await self._fill_ended()
        await self._fill_batches()
        for flow_id, (name, groups, age) in FLOWS.items():
            await self._fill_flow(flow_id, name, groups, age)
        await self._fill_steps()
        await self._fill_counts()
        await self._fill_run_times()

    async def _fill_shelves(self) -> None:
        now, rng = time.time(), self.rng
        for name, (err, count) in ERRORS.items():
            for n in range(count):
                failed_at = int(now - rng.expovariate(1 / 20_000))
                varied = err.replace("9f3c", f"{rng.getrandbits(16):04x}").replace("88412", str(rng.randrange(99_999)))
                failure = {"err": varied, "traceback": TRACEBACK}
                dead = self._payload(name, now - failed_at + 4_000, fails=4, failed_at=failed_at, **failure)
                await self.redis.zadd(self.keys.dead, {dead: failed_at})
                if n % 2:
                    fails = rng.randrange(1, 4)
                    again = self._payload(name, 600, fails=fails, failed_at=int(now - n * 20), **failure)
                    await self.redis.zadd(self.keys.retry, {again: int(now + rng.expovariate(1 / 900) + 20)})
        for _ in range(64):
            name = rng.choice(("send_email", "generate_invoice", "export_orders", "refresh_prices"))
            at = int(now + 30 + rng.expovariate(1 / 7_000))
            await self.redis.zadd(self.keys.scheduled, {self._payload(name, 60): at})

    async def _fill_ended(self) -> None:
        """Write the records of two jobs that have ended: one is done at its second attempt, one was cancelled."""
        now, history = time.time(), AttemptHistory()
        began = now - 400
        outcomes = {"done": {"result": b'{"rows":1204455,"file":"orders-2026-11.parquet"}'}, "cancelled": {}}
        outcomes["cancelled"]["err"] = b"cancelled by ada: wrong month"
        for state, more in outcomes.items():
            job_id, refused = ENDED[state], "ConnectError: db.example.com:5432 refused the connection"
            attempts = [
                *history.attempt("failed", began, began + 12, refused),
                *history.attempt(state, began + 60, now - 240, ""),
            ]
            record: dict[Any, Any] = dict(zip(attempts[::2], attempts[1::2], strict=True))
            record |= {"state": state, "name": "export_orders", "attempts": 2, "args": b'{"month":"2026-11"}', **more}
            record |= {"enqueued_at": int(began - 20), "started_at": began + 60, "ended_at": now - 240}
            await self.redis.hset(self.keys.job_record(job_id), mapping=record)
            await self.redis.expire(self.keys.job_record(job_id), _DAY)
            await self.redis.zadd(self.keys.finished, {job_id: int(now - 240)})
        for row in range(100_000, 500_000, 100_000):
            chunk = json.dumps(f"{row:,} rows written")
            await self.redis.xadd(self.keys.stream(ENDED["done"]), {"chunk": chunk, "attempt": 2})
        await self.redis.xadd(self.keys.stream(ENDED["done"]), {"end": "done"})
        await self.redis.expire(self.keys.stream(ENDED["done"]), _DAY)

    async def _fill_batches(self) -> None:
        """Write three batches: one that runs, one that has succeeded, and one with failed members."""
        now = time.time()
        for batch_id, (name, total, ended, failed, age) in BATCHES.items():
            key, done, bad, *_ = self.keys.batch(batch_id)
            fields = {"name": name, "tags": '["nightly"]', "created_at": int(now - age), "total": total}
            fields |= {"left": total - ended, "failed": failed, "cancelled": 0, "next": total}
            if ended == total:
                fields["ended_at"] = int(now - age / 3)
            await self.redis.hset(key, mapping=fields)
            await self.redis.set(done, b"\xff" * (ended // 8))
            for number in range(failed):
                await self.redis.setbit(bad, 97 * number, 1)
            await self.redis.zadd(self.keys.batches, {batch_id: now - age})
            if ended < total:
                await self.redis.zadd(self.keys.open_batches, {batch_id: now - age})

    async def _fill_flow(self, flow_id: str, name: str, groups: Sequence[Nodes], age: float) -> None:
        """Write a flow whose nodes are in the given states."""
        now = time.time()
        key, ended, failed, cancelled, nodes = self.keys.batch(flow_id)
        total = sum(each.total for each in groups)
        bits = {state: bytearray(total // 8 + 1) for state in ("ended", "failed", "cancelled")}
        stored, sets, number, left = list[dict[str, Any]](), dict[str, str](), 0, 0
        for each in groups:
            group = {"first": number, "count": each.total, "name": each.name, "label": each.label, "when": each.when}
            stored.append({**group, "after": [stored[at]["first"] for at in each.after], "set": number})
            kept = next((state for state in ("waiting", "skipped") if state in each.states), "released")
            sets[f"set:{number}"] = f"{number} {each.total} {kept} 0 0 0"
            for state, count in each.states.items():
                if state in ("waiting", "enqueued"):
                    left += count
                else:
                    for bitmap in {"ended", state} & set(bits):
                        for node in range(number, number + count):
                            bits[bitmap][node // 8] |= 0x80 >> node % 8
                number += count
        counts = {state: sum(each.states.get(state, 0) for each in groups) for state in ("failed", "cancelled")}
        fields = {"name": name, "tags": '["acme"]', "created_at": int(now - age), "total": total, "left": left}
        fields |= {**counts, "next": total, "flow": "cancel", "unique": f"{name} 42"}
        if not left:
            fields["ended_at"] = int(now - age / 2)
        await self.redis.hset(key, mapping=fields)
        await self.redis.hset(nodes, mapping={"parts": 1, "groups:1": json.dumps(stored), **sets})
        for bitmap, state in ((ended, "ended"), (failed, "failed"), (cancelled, "cancelled")):
            await self.redis.set(bitmap, bytes(bits[state]))
        await self.redis.zadd(self.keys.batches, {flow_id: now - age})
        if left:
            await self.redis.zadd(self.keys.open_batches, {flow_id: now - age})

    async def _fill_steps(self) -> None:
        """Write a job that has taken some steps, and waits for an event."""
        began, until = time.time() - 7_500, int(time.time()) + 26 * _DAY
        fields = {
            "step:charge": step_fields.done(began, began + 41.3, b'{"number":4711,"cents":12900}'),
            "step:reserve parcel": step_fields.done(began + 2, began + 1_900, b'"parcel-7"'),
            "step:e-mail: your order": step_fields.done(began + 41.5, began + 300, b"null"),
            "cursor:export rows": step_fields.position_of(began + 1_200, b"41200", ended=True),
            "sleep:time to object": step_fields.until(began + 1_900, began + 5_500),
            "wait:address confirmed": step_fields.until(began + 5_500, began + 6_600),
            "event:address confirmed": step_fields.event_of(began + 6_100, b'{"by":"customer"}'),
            "wait:stock checked": step_fields.until(began + 6_100, began + 6_700),
            "event:stock checked": step_fields.too_late(began + 6_700),
            "wait:approved": step_fields.until(began + 6_700, until),
        }
        job = {"name": "fulfil_order", "id": STEPPING, "t": int(began), "args": {"order": 88_412}}
        payload = json.dumps(job, separators=(",", ":")).encode()
        waits = {"deferred": str(until), "payload": payload, "awaits": "approved", "until": str(until)}
        await self.redis.hset(self.keys.steps(STEPPING), mapping={**fields, **waits})
        await self.redis.zadd(self.keys.scheduled, {payload: until})

    async def _fill_counts(self) -> None:
        now = int(time.time())
        for at, step in self._spans(now):
            share = (now - at) / step if at + step > now else 1.0
            counts = {name: _counted(name, at, step, share) for name in QUEUES}
            counts[""] = [sum(column) for column in zip(*counts.values(), strict=True)]
            async with self.redis.pipeline(transaction=False) as pipe:
                for name, numbers in counts.items():
                    if any(numbers):
                        key, cell = self._cell(name, at, step)
                        pipe.setrange(key, cell * _CELL.size, _CELL.pack(*numbers))
                await pipe.execute()

    async def _fill_run_times(self) -> None:
        """Write how long the attempts at one queue took on each of the last days; today they are slower."""
        for ago in range(7):
            buckets = [0] * (6 if ago == 0 else 5) + [(7 - ago % 3) * each for each in _SHAPE]
            date = f"{datetime.fromtimestamp(time.time() - ago * _DAY, UTC):%Y-%m-%d}"
            packed = b"".join(count.to_bytes(4, "big") for count in buckets)
            await self.redis.set(self.keys.run_times(date, "resize_image"), packed)

    @staticmethod
    def _spans(now: int) -> Iterator[tuple[int, int]]:
        minute, day = now - now % _MINUTE, now - now % _DAY
        yield from ((minute - ago * _MINUTE, _MINUTE) for ago in range(62))
        yield from ((day - ago * _DAY, _DAY) for ago in range(30))

    def _cell(self, name: str, at: int, step: int) -> tuple[str, int]:
        if step == _MINUTE:
            return self.keys.minutes(at // _HOUR, name), at % _HOUR // _MINUTE
        date = datetime.fromtimestamp(at, UTC)
        return self.keys.days(f"{date:%Y-%m}", name), date.day - 1

    async def live(self, ended: asyncio.Event) -> None:
        """Be what pools are, until that has ended.

        It is not cancelled, because the client of Redis may swallow a cancellation.
        """
        began = int(time.time())
        jobs = [
            {
                "job_name": name,
                "job_id": self._id(),
                "started_at": int(began - age),
                "args": json.dumps(_args(name, self.rng), separators=(",", ":")),
                "checkin": text,
            }
            for name, age, text in RUNNING
        ]
        names = [name for name, *_ in RUNNING]
        await self.redis.mset({self.keys.lock(name): names.count(name) for name in names})
        while not ended.is_set():
            for number, (host, pid) in enumerate(HOSTS):
                await self._beat(f"{number}c0ffee{pid:017x}", host, pid, began, jobs[number :: len(HOSTS)])
            await self._fill_counts()
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), _BEAT)

    async def _beat(self, pool_id: str, host: str, pid: int, began: int, jobs: list[dict[str, Any]]) -> None:
        now = int(time.time())
        workers = tuple(f"{pool_id}{n:02d}" for n in range(20))
        names = tuple(name for name in QUEUES if name != "legacy_report")
        periodic = (
            PeriodicState("cleanup_sessions", "0 */5 * * * *", "a", next=began + 140),
            PeriodicState(
                "export_orders", "TZ=Europe/Berlin 0 30 2 * * 1-5", "b", b'{"format":"parquet"}', began + 30_000
            ),
            PeriodicState("refresh_prices", "@every 90s", "c", next=began + 70),
        )
        is_go = host.startswith("media")
        started_at, runner = began - 184_000 + pid, "asyncwork 0.1.0"
        process = now, started_at, names, 20, workers, host, pid, runner
        beat = Heartbeat(pool_id, *process, "running", periodic, takes_requests=not is_go, version_label="v1.5.0")
        fields = heartbeat_fields.write(beat)
        for name in ("runner", "state", "periodic", "version_label") if is_go else ():
            del fields[name]
        await self.redis.sadd(self.keys.worker_pools, pool_id)
        await self.redis.hset(self.keys.heartbeat(pool_id), mapping=fields)
        for worker, job in zip(workers, jobs, strict=False):
            seen = {**job, "checkin_at": now - 1} if job["checkin"] else {**job, "checkin": ""}
            await self.redis.hset(self.keys.observation(worker), mapping=seen)
            share = sum(each["job_name"] == job["job_name"] for each in jobs)
            await self.redis.hset(self.keys.lock_info(job["job_name"]), pool_id, share)
        fired = {"a": began - 160, "b": began - 50_000, "c": began - 20, "legacy_report:@monthly": began - 900_000}
        await self.redis.hset(self.keys.periodic_fired, mapping=fired)
        await self._change_periodic(began)
        began_at = {"v1.3.9": began - 9 * 86_400, "v1.4.2": began - 3 * 86_400, "v1.5.0": began - 1_500}
        await self.redis.zadd(self.keys.deployments, began_at)

    async def _change_periodic(self, began: int) -> None:
        """Pause one periodic job, edit one, and add one, which have run before."""
        changes = {
            "c": {"paused": True, "by": "ada", "at": began - 4_000},
            "a": {"paused": False, "spec": "0 */10 * * * *", "by": "grace", "at": began - 90_000},
            ADDED: {"paused": False, "name": "legacy_report", "spec": "@every 5m", "by": "ada", "at": began - 900},
        }
        plain = {key: json.dumps(each, separators=(",", ":")) for key, each in changes.items()}
        await self.redis.hset(self.keys.periodic_changes, mapping=plain)
        for n in range(12):
            at = began - 160 - 600 * n
            await self.redis.zadd(self.keys.periodic_runs("a"), {str(at): at})
        by_hand = json.dumps({"at": began - 1_000, "id": ENDED["done"], "by": "ada"})
        await self.redis.zadd(self.keys.periodic_runs("a"), {by_hand: began - 1_000})


@asynccontextmanager
async def living(url: str) -> AsyncIterator[Demo]:
    """Run the demo namespace within the context."""
    redis = Redis.from_url(url, protocol=2)
    demo = Demo(redis)
    await demo.fill()
    ended = asyncio.Event()
    task = asyncio.create_task(demo.live(ended))
    try:
        await asyncio.sleep(_SETTLE)
        yield demo
    finally:
        ended.set()
        await asyncio.gather(task, return_exceptions=True)
        await redis.aclose()


# The key of a periodic job that was added at run time.
ADDED = "legacy_report:@every 5m"

# Attempts at the jobs of one queue, by run time.
_SHAPE = (3, 40, 210, 640, 900, 520, 180, 70, 12, 2)

# By id: the name, the members, how many have ended and failed, and the age in seconds.
BATCHES = {
    "b00000000000000000000001": ("nightly invoices", 48_000, 31_248, 3, 1_900),
    "b00000000000000000000002": ("search index", 12_000, 12_000, 0, 9_000),
    "b00000000000000000000003": ("newsletter", 8_000, 8_000, 41, 40_000),
}


class Nodes(NamedTuple):
    """A group of nodes of a flow.

    :ivar after: the positions of the groups that it runs after.
    :ivar states: how many nodes are in which state.
    """

    name: str
    states: dict[str, int]
    after: Sequence[int] = ()
    label: str = ""
    when: str = "success"

    @property
    def total(self) -> int:
        return sum(self.states.values())


_IMPORT = (
    Nodes("split_file", {"done": 1}, label="split customers-2026-11.csv"),
    Nodes("load_rows", {"failed": 3, "done": 7_312, "enqueued": 2_685}, [0], label="load"),
    Nodes("update_search_index", {"done": 1_180, "enqueued": 20}, [0]),
    Nodes("check_sums", {"waiting": 1}, [1]),
    Nodes("remove_rows", {"waiting": 1}, [1], label="undo", when="failure"),
    Nodes("write_report", {"waiting": 1}, [3, 2]),
    Nodes("send_email", {"waiting": 2}, [5], label="tell the owners"),
    Nodes("cleanup_sessions", {"waiting": 1}, [0, 4, 6], label="clean up", when="done"),
)
_ARCHIVE = (
    Nodes("final_receipt", {"done": 1}, label="receipt"),
    Nodes("backup_posts", {"failed": 1}, [0]),
    Nodes("send_email", {"done": 4}, [0]),
    Nodes("delete_account", {"cancelled": 1}, [1, 2]),
    Nodes("alert", {"done": 1}, [1, 2], when="failure"),
    Nodes("refund", {"skipped": 1}, [0], when="failure"),
)
_CRAWL = (
    Nodes("seed", {"done": 1}),
    *(Nodes("fetch_page", {"done" if n % 9 else "failed": 1}, [0]) for n in range(900)),
    Nodes("rank", {"waiting": 1}, range(1, 901)),
    *(Nodes(f"pass-{n}", {"waiting": 1}, [900 + n]) for n in range(1, 71)),
)
# By id: the name, the groups of nodes, and the age in seconds.
FLOWS: dict[str, tuple[str, Sequence[Nodes], float]] = {
    "w00000000000000000000001": ("import customers", _IMPORT, 320),
    "w00000000000000000000002": ("archive account", _ARCHIVE, 5_000),
    "w00000000000000000000003": ("crawl", _CRAWL, 700),
}

_PARAMETERS = {
    "/queue": "?name=resize_image",
    "/find": "?text=card",
    "/confirm": "?action=delete&location=dead",
    "/batch": "?id=b00000000000000000000001",
    "/batch/nodes": "?id=w00000000000000000000001&group=1",
    "/periodic/job": "?key=a",
    "/periodic/new": "?name=cleanup_sessions&spec=0+30+2+*+*+1-5&tz=Europe/Berlin&args=%7B%22days%22:7%7D",
}
PAGES = {
    **{path.strip("/").replace("/", "_") or "overview": path + _PARAMETERS.get(path, "") for path in pages.PAGES},
    # Found on another page.
    "job": "",
    "done": f"/jobs/{ENDED['done']}",
    "cancelled": f"/jobs/{ENDED['cancelled']}",
    "steps": f"/jobs/{STEPPING}",
    "flow": "/batch?id=w00000000000000000000001",
    "flow_failed": "/batch?id=w00000000000000000000002",
    "flow_folded": "/batch?id=w00000000000000000000003",
    "flow_nodes": "/batch/nodes?id=w00000000000000000000001",
    "gone": "/job?location=dead&ref=1~00000000000000000000~0&id=5f2",
}


async def _shoot(browser: Browser, base: str, directory: Path, names: list[str], width: int, scheme: str) -> None:
    phone = width < 600
    context = await browser.new_context(
        viewport={"width": width, "height": 844 if phone else 900},
        color_scheme="dark" if scheme == "dark" else "light",
        device_scale_factor=2,
        is_mobile=phone,
        has_touch=phone,
    )
    page = await context.new_page()
    for name in names:
        path = PAGES[name]
        if name == "job":
            await page.goto(f"{base}/dead?name=charge_card")
            path = await page.locator("td.job a").first.get_attribute("href") or ""
        await page.goto(base + path)
        await page.wait_for_timeout(1_000 * _SETTLE)
        file = directory / f"{name}-{'phone' if phone else 'desk'}-{scheme}.png"
        # The overview is the README's picture.
        await page.screenshot(path=file, full_page=not phone and name != "overview")
    await context.close()


async def _main(directory: Path, names: list[str]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as data, EmbeddedRedis(data, appendonly=False) as redis:
        async with living(redis.url), async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
            with Server(redis.url, NAMESPACE) as server:
                for width, scheme in ((1_280, "light"), (1_280, "dark"), (390, "light"), (390, "dark")):
                    await _shoot(browser, server.base, directory, names, width, scheme)
            await browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="where the pictures go")
    parser.add_argument("pages", nargs="*", default=[*PAGES], help="which pages; all without")
    given = parser.parse_args()
    asyncio.run(_main(given.directory, given.pages))
