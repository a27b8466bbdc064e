"""Jobs of ``benchmarks.timed_app``: enqueues them, and reads what they have written."""

from __future__ import annotations

from collections.abc import Iterator

from asyncwork import Enqueuer


async def enqueue(url: str, namespace: str, jobs: int) -> None:
    """Enqueue jobs with the numbers from 0."""
    async with Enqueuer(url, namespace=namespace) as enqueuer:
        for start in range(0, jobs, 1000):
            numbers = range(start, min(start + 1000, jobs))
            await enqueuer.enqueue_many([("step", {"number": number}) for number in numbers])


def read_events(text: str) -> Iterator[tuple[str, int, int, int]]:
    """Read the events of jobs: ``start`` or ``end``, the number of the job, the process, and monotonic nanoseconds."""
    for line in text.splitlines():
        what, number, pid, at = line.split()
        yield what, int(number), int(pid), int(at)
