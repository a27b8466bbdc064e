"""A program without handlers. It enqueues jobs by name for the pool of ``examples/app.py``.

python -m examples.enqueue
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from asyncwork import Enqueuer, RedisUnavailable


def draw_picture() -> str:
    path = Path(tempfile.mkdtemp(prefix="asyncwork-example-"), "stripes.ppm")
    path.write_bytes(b"P6\n64 64\n255\n" + bytes(range(192)) * 64)
    return str(path)


async def main() -> None:
    async with Enqueuer(namespace=os.environ.get("ASYNCWORK_NAMESPACE", "my_app")) as enqueuer:
        # As soon as a worker is free.
        job = await enqueuer.enqueue("send_email", {"address": "a@example.com", "customer_id": 7})
        print("enqueued", job)
        print("enqueued", await enqueuer.enqueue("resize", {"path": draw_picture()}))

        # Later: after a delay, or at a time.
        job = await enqueuer.enqueue(
            "send_email", {"address": "b@example.com", "subject": "two seconds later"}, delay=2
        )
        print("scheduled", job)
        soon = datetime.now(UTC) + timedelta(seconds=3)
        print("scheduled", await enqueuer.enqueue("calculate_caches", at=soon))

        # Unique: a duplicate when a job with the same arguments is already waiting.
        for _ in range(2):
            print("unique", await enqueuer.enqueue("export", {"rows": 50}, unique=True))
        print("unique", await enqueuer.enqueue("export", {"rows": 20}, delay=2, unique=True))

        # Unique by a key: the waiting job gets the newest arguments.
        customer = {"customer_id": 7}
        for subject in ("one order", "two orders", "three orders"):
            args = {"address": "c@example.com", "subject": subject, **customer}
            print("unique by key", await enqueuer.enqueue("send_email", args, delay=1, unique=customer))
        print("unique by key", await enqueuer.enqueue("export", {"rows": 30}, unique={"table": "orders"}))

        # In bulk: thousands of jobs take a few round trips.
        many = [("send_email", {"address": f"{i}@example.com", "subject": "news"}) for i in range(100)]
        print("enqueued", len(await enqueuer.enqueue_many(many)), "jobs at once")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except RedisUnavailable as error:
        sys.exit(str(error))
