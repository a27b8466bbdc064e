"""The keys in Redis: each has a type, by which the doctor recognizes a wrong one, and is listed in docs/wire.md."""

from __future__ import annotations

import inspect
import re

import pytest

from asyncwork._redis import keys as keys_module
from asyncwork._redis.keys import Keys

from .architecture import ROOT

KEYS = Keys("NS")

# The words of docs/wire.md that stand for an argument.
_PLACEHOLDERS = {
    "name": "NAME",
    "pool_id": "POOL",
    "worker_id": "WORKER",
    "hour": "HOUR",
    "month": "YYYY-MM",
    "date": "YYYY-MM-DD",
    "token": "TOKEN",
    "job_id": "ID",
    "batch_id": "ID",
    "key": "PERIODIC_JOB",
    "digest": "HEX",
    "tenant": "TENANT",
}
_BEGINNINGS = {"prefix", "jobs", "unique", "holds", "tenants"}
_NOT_ONE_KEY = {
    "kind", "location", "other_prefixes", "read_queue_key", "recorded_field", "suspect_field",
    "unique_for", "unique_of", "ended_channel", "wake_channel",
}  # fmt: skip
_TYPES = {
    "hash": "hash",
    "integer": "string",
    "list": "list",
    "set": "set",
    "sorted set": "zset",
    "stream": "stream",
    "string": "string",
}
# `Keys.kind` documents why these have none.
_OF_ANY_TYPE = {KEYS.paused("NAME"), KEYS.lock("NAME"), KEYS.lock_info("NAME")}


def made() -> set[str]:
    """Return one key of each kind that :class:`Keys` makes."""
    found = {f"{KEYS.unique}NAME:KEY"}
    found |= {key for name, key in vars(KEYS).items() if name not in _BEGINNINGS}
    for name in vars(Keys):
        if name.startswith("_") or name in _NOT_ONE_KEY:
            continue
        made = getattr(KEYS, name)
        if callable(made):
            made = made(*(_PLACEHOLDERS[each] for each in inspect.signature(made).parameters))
        # A batch has several.
        found.update((made,) if isinstance(made, str) else made)
    # Those of fair queues; the list of the tenant without a name is the queue.
    *tenants, tokens, _ = KEYS.tenants.of("NAME")
    tokens = f"{tokens}TENANT".replace(":4:", ":LENGTH:")
    return found | {*tenants, tokens} | {KEYS.tenants.list("NAME", "TENANT").replace(":4:", ":LENGTH:")}


def documented() -> dict[str, str]:
    """Return the keys that docs/wire.md lists, with their types as Redis names them."""
    text = (ROOT / "docs" / "wire.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`NS .*?`) \| ([a-z ]+) \|", text, re.MULTILINE)
    return {key.replace(" ", ":"): _TYPES[kind] for cell, kind in rows for key in re.findall(r"`(NS .*?)`", cell)}


def test_every_key_is_documented() -> None:
    assert set(documented()) == made()


@pytest.mark.parametrize("key", sorted(made()))
def test_a_key_has_the_type_that_is_documented(key: str) -> None:
    assert KEYS.kind(key) == ("" if key in _OF_ANY_TYPE else documented()[key])


def test_the_module_names_the_keys_that_gocraft_work_does_not_have() -> None:
    text = (ROOT / "docs" / "wire.md").read_text(encoding="utf-8")
    own = text[text.index("belong to asyncwork alone") : text.index("has some fields that gocraft/work does not have")]
    names = {re.match(r"\w+:?", key)[0] for key in re.findall(r"^\| `NS (.*?)`", own, re.MULTILINE)}  # type: ignore[index]
    assert names == set(re.findall(r"``([\w:]+)``", keys_module.__doc__ or ""))
