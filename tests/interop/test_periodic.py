"""Periodic jobs that Go and Python pools plan together."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from asyncwork import Client
from asyncwork._jobs.periodic_job import PeriodicJob
from asyncwork.errors import ScheduleError
from asyncwork.schedule import Schedule

from ..conftest import until
from .golang import Mixed, Streamed


@pytest.mark.parametrize("first", ["go", "python"])
async def test_a_periodic_job_of_both_fires_each_second_once(mixed: Mixed, first: str) -> None:
    spec = "* * * * * *"
    redis = mixed.bench.redis
    python = mixed.python("tick")
    python.periodically(spec, "tick")

    async def seen(count: int) -> None:
        await until(lambda: redis.llen(mixed.record))
        await mixed.until_ran(count)

    # Well within a second: Go adds what it takes to come, also if it came meanwhile.
    go = mixed.pool(jobs={"tick": {}}, periodic=[{"spec": spec, "name": "tick"}], phase=0.3)
    if first == "go":
        async with go:
            await seen(1)
            planned = {payload for payload, _ in await mixed.bench.job_set("scheduled")}
            async with python.running():
                await seen(4)
    else:
        async with python.running():
            await seen(1)
            planned = {payload for payload, _ in await mixed.bench.job_set("scheduled")}
            async with go:
                await until(lambda: redis.exists(f"{mixed.bench.keys.prefix}last_periodic_enqueue"))
                await seen(4)
    ran = [each.id for each in await mixed.events("end")]
    seconds = sorted(int(each.removeprefix(f"periodic:tick:{spec}:")) for each in ran)
    assert seconds == list(range(seconds[0], seconds[0] + len(seconds)))
    # Both wrote the same bytes: what the second planned fell upon what was there.
    members = [payload for payload, _ in await mixed.bench.job_set("scheduled")]
    assert len(members) == len({json.loads(member)["id"] for member in members}) > 200
    # On a busy machine most of these have run by now.
    assert planned & set(members)
    assert len(members) <= 241


SPECS = [
    "*/7 * * * * *", "5/15 * * * * *", "0 */2 * * * *", "10-50/20,3 * * * * *", "0 * * * * ?", "30 * * ? * *",
    "0 * * * JAN-DEC SUN-SAT", "1,2,3 * * * * 0-6", "0 * * 1-31 1-12 *", "* 0-59 0-23 * * mon-sat,sun",
]  # fmt: skip


async def test_both_plan_the_same_bytes(mixed: Mixed) -> None:
    jobs = [PeriodicJob(f"job{number}", Schedule.parse(spec)) for number, spec in enumerate(SPECS)]
    # It plans at its start, and has no time to run anything.
    specs = [{"spec": job.schedule.spec, "name": job.name} for job in jobs]
    async with mixed.pool(jobs={}, periodic=specs, drain=True) as pool:
        assert await pool.ends() == 0
    now = int(await mixed.bench.redis.get(f"{mixed.bench.keys.prefix}last_periodic_enqueue"))
    ours = {(job.instance(at), float(at)) for job in jobs for at in job.schedule.firings(now, now + 240)}
    assert set(await mixed.bench.job_set("scheduled")) == ours
    assert len(ours) > 300


@pytest.fixture(scope="module")
def go_cron(gowork: Path) -> Iterator[Streamed]:
    with Streamed(gowork, "cron") as cron:
        yield cron


def field(low: int, high: int) -> st.SearchStrategy[str]:
    """One field of a spec, often unrestricted, seldom tight: a search for what hardly ever fires is slow."""
    number = st.integers(low, high)
    span = st.tuples(number, number).map(lambda ends: f"{min(ends)}-{max(ends)}")
    step = st.integers(2, max(2, (high - low) // 2)).map(str)
    stepped = st.tuples(st.one_of(span, number.map(str)), step).map("/".join)
    listed = st.lists(st.one_of(number.map(str), span, stepped), min_size=1, max_size=3).map(",".join)
    return st.one_of(st.just("*"), st.just("?"), listed)


@given(
    fields=st.tuples(field(0, 59), field(0, 59), field(0, 23), field(1, 28), field(1, 12), field(0, 6)),
    after=st.integers(1_600_000_000, 2_000_000_000),
)
@settings(max_examples=300, deadline=None)
def test_six_fields_fire_when_gos_do(go_cron: Streamed, fields: tuple[str, ...], after: int) -> None:
    spec = " ".join(fields)
    theirs = go_cron.ask({"spec": spec, "after": after, "count": 5})["firings"]
    assume(len(theirs) == 5)
    assert Schedule.parse(spec).firings(after, theirs[-1] + 1) == theirs


@pytest.mark.parametrize(
    ("spec", "reading"),
    [
        # The version of robfig/cron that v0.5.1 gets takes the first of five fields for seconds,
        ("30 * * * *", "30 * * * * *"),
        # and does not take a star with a step for a restriction: both days must fit, where otherwise either may.
        ("0 0 0 */2 * 1", None),
    ],
)
def test_what_means_something_else_to_go(go_cron: Streamed, spec: str, reading: str | None) -> None:
    theirs = go_cron.ask({"spec": spec, "after": 1_700_000_000, "count": 20})["firings"]
    assert Schedule.parse(spec).firings(1_700_000_000, theirs[-1] + 1) != theirs
    if reading is not None:
        assert Schedule.parse(reading).firings(1_700_000_000, theirs[-1] + 1) == theirs


@pytest.mark.parametrize("spec", ["TZ=Europe/Berlin 0 * * * * *", "CRON_TZ=Europe/Berlin 0 * * * * *"])
def test_zones_are_not_for_a_mixed_fleet(go_cron: Streamed, spec: str) -> None:
    assert "error" in go_cron.ask({"spec": spec, "after": 0, "count": 1})
    Schedule.parse(spec)


@pytest.mark.parametrize("spec", ["@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually"])
def test_descriptors_mean_the_same(go_cron: Streamed, spec: str) -> None:
    theirs = go_cron.ask({"spec": spec, "after": 1_700_000_000, "count": 4})["firings"]
    assert Schedule.parse(spec).firings(1_700_000_000, theirs[-1] + 1) == theirs


@pytest.mark.parametrize("spec", ["", "* * *", "60 * * * * *", "* * * * * 7", "0 0 0 L * *", "@reboot", "0 0 0 1 13 *"])
def test_what_go_refuses_is_refused(go_cron: Streamed, spec: str) -> None:
    assert "error" in go_cron.ask({"spec": spec, "after": 0, "count": 1})
    with pytest.raises(ScheduleError):
        Schedule.parse(spec)


async def test_go_pools_plan_their_own_periodic_jobs_although_ours_have_just_planned_theirs(mixed: Mixed) -> None:
    """Go plans nothing for two minutes where ``last_periodic_enqueue`` says that somebody did within the last 2 s."""
    ours = mixed.python("ours")
    ours.periodically("* * * * * *", "ours")
    theirs = mixed.pool(jobs={"theirs": {}, "ours": {}}, periodic=[{"spec": "* * * * * *", "name": "theirs"}])

    async def fired(name: str) -> bool:
        return name in {each.name for each in await mixed.events("end")}

    async with ours.running():
        await until(lambda: mixed.bench.redis.exists(mixed.bench.keys.scheduled))
        async with theirs:
            await until(lambda: fired("ours"))
            await until(lambda: fired("theirs"), limit=60)


async def test_a_go_pool_takes_no_notice_of_a_pause_and_runs_what_was_added(mixed: Mixed) -> None:
    """A pool of ours drops what Go has planned; Go's own requeuer does not."""
    bench, spec = mixed.bench, "* * * * * *"
    async with Client(bench.url, namespace=bench.namespace) as client:
        added = await client.add_periodic(spec, "added")
        key = await client.add_periodic(spec, "tick")
        await client.pause_periodic(key)

        async def ran(name: str) -> bool:
            return name in {each.name for each in await mixed.events("end")}

        async def warned() -> bool:
            return "go_periodic" in {each.kind for each in (await client.overview()).problems}

        async with mixed.pool(jobs={"tick": {}, "added": {}}, periodic=[{"spec": spec, "name": "tick"}]):
            await until(lambda: ran("tick"))
            await until(warned)
            # Nobody plans it while no pool of ours has a handler.
            assert not await ran("added")
            python = mixed.python("added")
            async with python.running():
                await until(lambda: ran("added"))
            await client.remove_periodic(added)
        await client.remove_periodic(key)
