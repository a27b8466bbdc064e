"""The data of the shop, in the directory $SHOP_DATA: orders in SQLite, and pictures as files."""

from __future__ import annotations

import os
import sqlite3
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio.to_thread


@dataclass
class Order:
    id: int
    address: str
    product: str
    emailed: bool = False  # whether the e-mail about it has been sent


class Orders:
    """The orders. SQLite blocks, so each statement runs in a thread, one at a time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._one_at_a_time = anyio.Lock()

    async def add(self, address: str, product: str) -> Order:
        sql = "INSERT INTO orders (address, product) VALUES (?, ?) RETURNING id"
        ((order_id,),) = await self._execute(sql, address, product)
        return Order(order_id, address, product)

    async def get(self, order_id: int) -> Order | None:
        rows = await self._execute("SELECT address, product, emailed FROM orders WHERE id = ?", order_id)
        if not rows:
            return None
        ((address, product, emailed),) = rows
        return Order(order_id, address, product, bool(emailed))

    async def mark_emailed(self, order_id: int) -> None:
        await self._execute("UPDATE orders SET emailed = 1 WHERE id = ?", order_id)

    async def not_emailed(self) -> list[int]:
        return [order_id for (order_id,) in await self._execute("SELECT id FROM orders WHERE NOT emailed ORDER BY id")]

    async def _execute(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        async with self._one_at_a_time:
            return await anyio.to_thread.run_sync(lambda: self._connection.execute(sql, values).fetchall())


@asynccontextmanager
async def open_orders() -> AsyncIterator[Orders]:
    """Open the database, and close it at the end of the block."""
    connection = await anyio.to_thread.run_sync(_connect)
    try:
        yield Orders(connection)
    finally:
        connection.close()


def new_picture() -> Path:
    """Return where to save a new picture."""
    return _directory() / uuid.uuid4().hex


def _connect() -> sqlite3.Connection:
    # In autocommit mode, used by one thread after another.
    connection = sqlite3.connect(_directory() / "orders.sqlite3", isolation_level=None, check_same_thread=False)
    connection.execute(
        "CREATE TABLE IF NOT EXISTS orders "
        "(id INTEGER PRIMARY KEY, address TEXT NOT NULL, product TEXT NOT NULL, emailed INTEGER NOT NULL DEFAULT 0)"
    )
    return connection


def _directory() -> Path:
    directory = Path(os.environ.get("SHOP_DATA", "shop-data")).absolute()
    directory.mkdir(parents=True, exist_ok=True)
    return directory
