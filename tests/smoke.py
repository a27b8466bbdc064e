"""A smoke test of an installed asyncwork, which needs asyncwork[embedded,web] and nothing else: ``python smoke.py``.

It runs jobs of most kinds on a Redis of its own, by the API and by the program, and looks at the web UI.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.request
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

import asyncwork
import asyncwork.sync
from asyncwork import Client, Discard, Job, WorkerPool
from asyncwork.embedded import EmbeddedRedis
from asyncwork.testing import audit

LIMIT = 120
pool = WorkerPool(namespace="smoke", concurrency=5)
ran: list[str] = []


@pool.job(backoff=lambda job: 0)
async def flaky(job: Job, due: datetime) -> None:
    ran.append(f"flaky {due:%Y} {job.fails}")
    if not job.fails:
        raise ValueError("once")


@pool.job
def threaded(path: Path) -> None:
    ran.append(f"threaded {path} {threading.current_thread() is threading.main_thread()}")


@pool.job(max_concurrency=1)
async def unique(n: int) -> None:
    ran.append(f"unique {n}")


@pool.job
async def discarded() -> None:
    raise Discard("not needed")


@pool.periodic("* * * * * *", tz="Europe/Berlin")
@pool.job
async def tick() -> None:
    ran.append("tick")


async def api(url: str) -> None:
    pool.reconfigure(url=url)
    async with asyncio.timeout(LIMIT), pool.running():
        await flaky.enqueue(datetime(2030, 1, 1, tzinfo=UTC))
        await threaded.options(delay=1).enqueue(Path("a"))
        for _ in range(2):
            await unique.options(unique=True, delay=1).enqueue(7)
        await discarded.enqueue()
        while not {"flaky 2030 1", "threaded a False", "unique 7", "tick"} <= set(ran):  # noqa: ASYNC110 - one of them is a thread's
            await asyncio.sleep(0.05)
    assert ran.count("unique 7") == 1, ran
    async with Client(url, namespace="smoke") as client:
        assert (await client.overview()).sizes.dead == 0


def program(url: str, scratch: Path) -> None:
    """Enqueue by a call that blocks; run the job, and serve the web UI, as a user starts them."""
    environment = {**os.environ, "ASYNCWORK_REDIS": url, "ASYNCWORK_NAMESPACE": "program"}
    with asyncwork.sync.Enqueuer(url, namespace="program") as enqueuer:
        enqueuer.enqueue("greet", {"name": "Ada"})
    (scratch / "greeting.py").write_text(
        "from asyncwork import WorkerPool\npool = WorkerPool()\n"
        "@pool.job\nasync def greet(name: str) -> None: print(f'hello, {name}')\n"
    )
    command = [sys.executable, "-m", "asyncwork"]
    run = partial(subprocess.run, cwd=scratch, env=environment, stdout=subprocess.PIPE, text=True, timeout=LIMIT)
    burst = run([*command, "run", "greeting:pool", "--burst"], check=True)
    assert "hello, Ada" in burst.stdout, burst.stdout
    serve = partial(subprocess.Popen, cwd=scratch, env=environment, stdout=subprocess.PIPE, text=True)
    with serve([*command, "web", "--listen", "127.0.0.1:0"]) as web:
        assert web.stdout is not None
        try:
            (address,) = re.findall(r"http://127\.0\.0\.1:\d+", web.stdout.readline())
            with urllib.request.urlopen(f"{address}/queues", timeout=LIMIT) as page:
                assert b"greet" in page.read()
        finally:
            web.send_signal(signal.SIGTERM)
        assert web.wait(LIMIT) == 0, web.returncode


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as directory,
        EmbeddedRedis(Path(directory) / "redis") as server,
        contextlib.chdir(directory),
    ):
        asyncio.run(api(server.url))
        program(server.url, Path(directory))
        for namespace in ("smoke", "program"):
            assert not asyncio.run(audit(server.url, namespace))
    installed = Path(asyncwork.__file__).parent
    print(f"asyncwork {version('asyncwork')} in {installed} works with Python {sys.version.split()[0]}")


if __name__ == "__main__":
    main()
