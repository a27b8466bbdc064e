"""An import of 10,000 rows as a flow: split, load in chunks, report; and remove it all if a chunk fails for good.

    asyncwork run examples.import_rows:pool
    python -m examples.import_rows                     # prints the id of the flow, and how far it is
    python -m examples.import_rows --broken 7          # chunk 7 fails for good, and what was loaded is removed
    asyncwork batches show FLOW -n my_app              # its nodes, as a tree

::

                  split
                    |
        load x 100, of 100 rows each
            |               |
          report       remove_rows, if a chunk has failed
            |               |
             clean_up, however they end
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from asyncwork import FlowHandle, WorkerPool

CHUNK = 100
DATA = Path(os.environ.get("IMPORT_DATA", tempfile.gettempdir()))
_TABLE = "CREATE TABLE IF NOT EXISTS rows (source TEXT, number INT, cents INT, PRIMARY KEY (source, number))"

pool = WorkerPool(namespace=os.environ.get("ASYNCWORK_NAMESPACE", "my_app"))


@contextmanager
def transaction() -> Iterator[sqlite3.Connection]:
    """Yield a connection to the database of the rows, and commit at the end of the block."""
    with closing(sqlite3.connect(DATA / "rows.sqlite", timeout=30)) as connection, connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS rows (source TEXT, number INT, cents INT, UNIQUE(source, number))"
        )
        yield connection


@pool.job
def split(source: str, chunks: int, broken: int) -> list[str]:
    """Write a file for each chunk; return their paths."""
    directory = DATA / source
    directory.mkdir(exist_ok=True)
    paths = []
    for chunk in range(chunks):
        numbers = range(CHUNK * chunk, CHUNK * (chunk + 1))
        path = directory / f"{chunk}.csv"
        path.write_text("\n".join(f"{number};{'?' if chunk == broken else 100 + number % 7}" for number in numbers))
        paths.append(str(path))
    return paths


@pool.job(max_fails=2, backoff=lambda job: 1)
def load(source: str, paths: list[str], chunk: int) -> int:
    """Load the rows of a chunk; return the sum of their cents. Another attempt writes the same rows again."""
    lines = Path(paths[chunk]).read_text().splitlines()
    rows = [(source, int(number), int(cents)) for number, cents in (line.split(";") for line in lines)]
    with transaction() as connection:
        connection.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", rows)
    return sum(cents for _, _, cents in rows)


@pool.job
def report(source: str, cents: list[int]) -> str:
    text = f"{source}: {len(cents)} chunks, {sum(cents) / 100:,.2f} EUR"
    print(text)
    return text


@pool.job
def remove_rows(source: str) -> None:
    """Remove what the other chunks have loaded."""
    with transaction() as connection:
        removed = connection.execute("DELETE FROM rows WHERE source = ?", (source,)).rowcount
    print(f"{source}: {removed:,} rows removed")


@pool.job
def clean_up(source: str, chunks: int) -> None:
    shutil.rmtree(DATA / source, ignore_errors=True)
    print(f"{source}: {chunks} files removed")


async def start_import(source: str, rows: int, broken: int = -1) -> FlowHandle:
    """Start the flow of an import. While it runs, another one of the same source raises ``UniqueConflictError``."""
    chunks = -(-rows // CHUNK)
    flow = pool.flow("import", unique=f"import {source}", tags=[source])
    files = flow.add(split.call(source, chunks, broken))
    # A placeholder for the paths that `split` will return. By taking it, each chunk runs after it.
    loads = flow.add_many(load.call(source, files.result, chunk) for chunk in range(chunks))
    summary = flow.add(report.call(source, loads.results))
    undo = flow.add(remove_rows.call(source), after=loads, when="failure")
    flow.add(clean_up.call(source, chunks), after=[summary, undo], when="done")
    return await flow.start()


async def main() -> None:
    parser = argparse.ArgumentParser(description="Import rows, and print how far it is.")
    parser.add_argument("--source", default="customers", help="what the rows are")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--broken", type=int, default=-1, help="the number of a chunk that cannot be loaded")
    given = parser.parse_args()
    async with pool.enqueuer:
        handle = await start_import(given.source, given.rows, given.broken)
    print(f"flow {handle.id}")
    ended = False
    while not ended:
        await asyncio.sleep(0.5)
        batch = (await handle.status()).batch
        ended = batch.ended
        print(
            f"{batch.state}: {batch.done} done, {batch.failed} failed, {batch.cancelled} cancelled, {batch.left} left"
        )


if __name__ == "__main__":
    asyncio.run(main())
