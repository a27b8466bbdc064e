"""Programs without asyncwork enqueue by writing to Redis, and our pools run what they wrote."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

from asyncwork import Job

from .conftest import LIMIT, Bench, until
from .interop.golang import missing

EXAMPLES = Path(__file__).parent.parent / "examples"


async def run(bench: Bench, *command: str) -> str:
    """Run an example against a bench; return what it said."""
    environment = os.environ | {"ASYNCWORK_REDIS": bench.url, "ASYNCWORK_NAMESPACE": bench.namespace}
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=PIPE, stderr=PIPE)
    async with asyncio.timeout(LIMIT):
        output, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")
    return output.decode()


async def emails(bench: Bench, count: int) -> dict[str, dict[str, Any]]:
    """Run what was enqueued; return the arguments by address."""
    sent: dict[str, dict[str, Any]] = {}
    ids: set[str] = set()
    due = {json.loads(payload)["id"]: at for payload, at in await bench.job_set("scheduled")}
    pool = bench.pool()

    @pool.job
    async def send_email(job: Job) -> None:
        seconds, _ = await bench.redis.time()
        assert seconds >= due.get(job.id, 0)
        ids.add(job.id)
        sent[job.arg("address", str)] = job.args

    async with pool.running():
        await until(lambda: len(sent) == count)
    assert len(ids) == count
    assert all(re.fullmatch(r"[0-9a-f]{24}", each) for each in ids)
    assert len(due) == 1
    assert await bench.redis.smembers(bench.keys.known_jobs) == {b"send_email"}
    assert not await bench.redis.exists(bench.keys.retry, bench.keys.dead, bench.keys.quarantine)
    return sent


async def test_a_ruby_script_enqueues(bench: Bench) -> None:
    ruby = shutil.which("ruby")
    if ruby is None:
        missing("there is no Ruby on this machine")
    if subprocess.run([ruby, "-e", "require 'redis'"], capture_output=True).returncode:
        missing("Ruby has no redis gem")
    assert await run(bench, ruby, str(EXAMPLES / "enqueue.rb")) == "enqueued 102 jobs\n"
    sent = await emails(bench, 102)
    assert sent["ruby@example.com"] == {"address": "ruby@example.com", "subject": "<Grüße> & 🎉"}
    assert sent["later@example.com"] == {"address": "later@example.com"}
    assert sent["100@example.com"] == {"address": "100@example.com", "customer_id": 100}


async def test_a_shell_script_enqueues(bench: Bench) -> None:
    if shutil.which("redis-cli") is None:
        missing("there is no redis-cli on this machine")
    assert await run(bench, "sh", str(EXAMPLES / "enqueue.sh")) == "1\n1\n1\n"
    sent = await emails(bench, 2)
    assert sent["shell@example.com"] == {"address": "shell@example.com", "subject": "<Grüße> & 🎉"}
    assert sent["later@example.com"] == {"address": "later@example.com"}
