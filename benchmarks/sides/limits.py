"""The limits of asyncwork's job types."""

from __future__ import annotations

from typing import Any

from asyncwork import Rate, Unique, WorkerPool

from ..orders import CHUNK, RATE, WIDE, Case


def limited(pool: WorkerPool[Any], case: Case) -> dict[str, Any]:
    """Return the options of the job types of a case with a limit."""
    most = case.concurrency
    match case.limit:
        case "no-ahead":
            return {}
        case "concurrency":
            return {"max_concurrency": most}
        case "concurrency-wide":
            return {"max_concurrency": WIDE}
        case "rate":
            return {"rate": Rate(RATE)}
        case "shared":
            return {"limits": [pool.limit("bench", rate=Rate(RATE), concurrency=most)]}
        case "fair":
            return {"partition": "tenant"}
        case "fair-concurrency":
            return {"partition": "tenant", "partition_concurrency": most}
        case "fair-rate":
            return {"partition": "tenant", "partition_rate": Rate(RATE)}
        case "unique":
            return {"unique": Unique(until="done")}
        case "chunk":
            return {"chunk": CHUNK, "wait": 0}
    raise LookupError(f"asyncwork has no limit {case.limit!r}")
