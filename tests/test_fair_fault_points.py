"""A process that is killed between any two commands about fair queues loses nothing, as in :mod:`test_fault_points`.

There are the same jobs, each of a tenant, so that all of their commands are the variants for fair queues.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from asyncwork._redis import scripts

from .once import once
from .stepping import Moment, Point
from .test_fault_points import kill_at, later_points, run

# The variants that no pool calls: they are a client's or an enqueuer's.
_OF_OTHERS = {
    f"{scripts.FAIR}{name}"
    for name in (
        *("delete_from_set", "delete_from_list", "delete_members_from_set", "delete_members_from_list"),
        *("enqueue_holder", "enqueue_unique", "restore_to_set", "restore_to_list", "retry_nodes", "signal", "throttle"),
    )
}
_OF_TENANTS = {"BLPOP", "open_tenants", "review_tenants"}
KINDS = sorted({*scripts.variants(), *_OF_TENANTS} - _OF_OTHERS)


@pytest.fixture(scope="session")
def counted(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Counter[str]:
    """How many commands of each kind there are when no process is killed."""
    directory = tmp_path_factory.mktemp("diary")
    return Counter(
        once(
            tmp_path_factory,
            "fair commands",
            lambda: asyncio.run(run(redis_url, directory / "diary", fair=True)).seen,
        )
    )


def test_every_variant_is_tried(counted: Counter[str]) -> None:
    assert {kind for kind in counted if ":" in kind or kind in _OF_TENANTS} == {*KINDS}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_process_that_is_killed_loses_nothing(redis_url: str, tmp_path: Path, kind: str) -> None:
    points = [Point(kind, 1, moment) for moment in Moment]
    assert {*points} == await kill_at(points, redis_url, tmp_path, fair=True)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
async def test_a_process_that_is_killed_anywhere_loses_nothing(
    redis_url: str, counted: Counter[str], tmp_path: Path, kind: str
) -> None:
    # There may be none, because how often a pool asks depends on how busy the machine is.
    await kill_at(later_points(kind, counted), redis_url, tmp_path, fair=True)
