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

from asyncwork import Enqueuer, RedisUnusable


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
        job = await enqueuer.enqueue_in("send_email", 2, {"address": "b@example.com", "subject": "two seconds later"})
        print("scheduled", job)
        soon = datetime.now(UTC) + timedelta(seconds=3)
        print("scheduled", await enqueuer.enqueue_at("calculate_caches", soon))

        # Unique: None when a job with the same arguments is already waiting.
        for _ in range(2):
            print("unique", await enqueuer.enqueue_unique("export", {"rows": 50}))
        print("unique", await enqueuer.enqueue_unique_in("export", 2, {"rows": 20}))

        # Unique by a key: the waiting job gets the newest arguments.
        customer = {"customer_id": 7}
        for subject in ("one order", "two orders", "three orders"):
            args = {"address": "c@example.com", "subject": subject, **customer}
            print("unique by key", await enqueuer.enqueue_unique_in_by_key("send_email", 1, args, customer))
        print("unique by key", await enqueuer.enqueue_unique_by_key("export", {"rows": 30}, {"table": "orders"}))

        # In bulk: thousands of jobs take a few round trips.
        many = [("send_email", {"address": f"{i}@example.com", "subject": "news"}) for i in range(100)]
        print("enqueued", len(await enqueuer.enqueue_many(many)), "jobs at once")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except RedisUnusable as error:
        sys.exit(str(error))
