"""The process that runs the jobs by the floor. It does not import asyncwork: its memory is the floor's own."""

from __future__ import annotations

from .floor import Fields, Floor
from .orders import NAMES, NAMESPACE, Case, Drained, receive, reply, run
from .tally import Tally


async def drain(url: str, case: Case, jobs: int) -> Drained:
    """Run everything that waits."""

    async def count(job: Fields) -> None:
        tally.ran(job["args"]["place"])

    floor = Floor(url, NAMESPACE, NAMES, count, concurrency=case.concurrency, exchanges=case.exchanges)
    tally = Tally(jobs)
    await floor.run()
    return tally.result()


if __name__ == "__main__":
    order = receive()
    case = Case(**order["case"])
    reply(run(drain(order["url"], case, order["jobs"]), case))
