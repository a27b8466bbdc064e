"""Environment variables of pools, enqueuers and clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from asyncwork import Client, Enqueuer, UsageError, WorkerPool

ELSEWHERE = "redis://me:secret@elsewhere:1/0"


def address_of(made: WorkerPool[Any] | Enqueuer | Client) -> tuple[str, str]:
    return made._redis.masked_url, made._redis.namespace


MAKERS: list[Callable[..., WorkerPool[Any] | Enqueuer | Client]] = [WorkerPool, Enqueuer, Client]


@pytest.mark.parametrize("make", MAKERS)
def test_the_code_precedes_the_environment_which_precedes_the_default(
    monkeypatch: pytest.MonkeyPatch, make: Callable[..., WorkerPool[Any] | Enqueuer | Client]
) -> None:
    for name in ("ASYNCWORK_REDIS", "ASYNCWORK_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    assert address_of(make()) == ("redis://localhost:6379/0", "work")
    monkeypatch.setenv("ASYNCWORK_REDIS", ELSEWHERE)
    monkeypatch.setenv("ASYNCWORK_NAMESPACE", "prod")
    assert address_of(make()) == ("redis://me:***@elsewhere:1/0", "prod")
    assert address_of(make("redis://here/1", namespace="shop")) == ("redis://here/1", "shop")
    assert address_of(make(namespace="")) == ("redis://me:***@elsewhere:1/0", "")
    monkeypatch.setenv("ASYNCWORK_NAMESPACE", "")
    assert address_of(make())[1] == "work"


def test_a_pool_enqueues_where_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCWORK_REDIS", ELSEWHERE)
    monkeypatch.setenv("ASYNCWORK_NAMESPACE", "prod")
    pool = WorkerPool()
    assert address_of(pool.enqueuer) == address_of(pool)
    assert pool.options.namespace == "prod"


def test_concurrency_and_grace_follow_the_same_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCWORK_CONCURRENCY", "5")
    monkeypatch.setenv("ASYNCWORK_GRACE", "90")
    from_environment, from_code = WorkerPool().options, WorkerPool(concurrency=3, grace=0).options
    assert (from_environment.concurrency, from_environment.grace) == (5, 90.0)
    assert (from_code.concurrency, from_code.grace) == (3, 0)
    monkeypatch.setenv("ASYNCWORK_CONCURRENCY", "many")
    with pytest.raises(UsageError, match="ASYNCWORK_CONCURRENCY: a whole number is needed, not 'many'"):
        WorkerPool()


def test_the_error_for_a_bad_url_in_the_environment_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCWORK_REDIS", "localhost:6379")
    with pytest.raises(UsageError, match="ASYNCWORK_REDIS: not a Redis URL: 'localhost:6379'"):
        Enqueuer()


def test_a_pool_lists_the_variables_that_it_overrules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCWORK_REDIS", ELSEWHERE)
    monkeypatch.setenv("ASYNCWORK_NAMESPACE", "prod")
    monkeypatch.setenv("ASYNCWORK_CONCURRENCY", "10")
    assert WorkerPool().overruled == []
    assert WorkerPool("redis://a:b@here/1", namespace="shop").overruled == [
        ("redis", "ASYNCWORK_REDIS", "redis://me:***@elsewhere:1/0", "redis://a:***@here/1"),
        ("namespace", "ASYNCWORK_NAMESPACE", "prod", "shop"),
    ]
