"""Version labels of pools: what they may be, what Redis keeps of them, and the marks in the charts."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from asyncwork import Client, Deployment, JobCounts, PoolOptions, RunTimes, UsageError, WorkerPool
from asyncwork._health.histogram import BOUNDS
from asyncwork._redis.deployments import Deployments
from asyncwork.web import charts, histograms
from asyncwork.web.deployment_marks import deployment_marks

from .conftest import Bench
from .web_app import serving

DAY = 86_400


@pytest.fixture
async def client(bench: Bench) -> AsyncIterator[Client]:
    async with Client(bench.url, namespace=bench.namespace) as client:
        yield client


@pytest.mark.parametrize("label", ["v", "v1.4.2", "2026-11-29 b7", "ü" * 64])
def test_a_label_is_accepted(label: str) -> None:
    assert WorkerPool(version_label=label).options.version_label == label


@pytest.mark.parametrize("label", ["", " v1", "v1 ", "v" * 65, "v\n1", "v\x00", "v\u200b", 5, b"v1"])
def test_a_label_is_refused(label: Any) -> None:
    with pytest.raises(UsageError, match="a version label must be text of 1 to 64 printable characters"):
        WorkerPool(version_label=label)
    if label != "":
        with pytest.raises(UsageError, match="a version label must be"):
            PoolOptions(version_label=label)


def test_the_environment_has_a_label(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCWORK_VERSION_LABEL", "v1")
    assert WorkerPool().options.version_label == "v1"
    pool = WorkerPool(version_label="v2")
    assert pool.options.version_label == "v2"
    [overruled] = [each for each in pool.overruled if each.option == "version-label"]
    assert (overruled.value, overruled.used) == ("v1", "v2")
    pool.reconfigure(version_label="v3")
    assert pool.options.version_label == "v3"


async def test_the_first_pool_with_a_label_records_it(bench: Bench, client: Client) -> None:
    before = time.time() - 1
    async with bench.pool(version_label="v1").running():
        [heartbeat] = await client.heartbeats()
        assert heartbeat.version_label == "v1"
    [first] = await client.deployments()
    assert first.version_label == "v1"
    assert before < first.started_at < time.time() + 1
    async with bench.pool(version_label="v1").running():
        assert await client.deployments() == [first]
    async with bench.pool(version_label="v2").running():
        second, same = await client.deployments()
    assert (second.version_label, same) == ("v2", first)
    assert second.started_at > first.started_at


async def test_a_pool_without_a_label_records_nothing(bench: Bench, client: Client) -> None:
    async with bench.pool().running():
        [heartbeat] = await client.heartbeats()
        assert heartbeat.version_label == ""
        assert "version_label" not in await bench.redis.hgetall(bench.keys.heartbeat(heartbeat.pool_id))
    assert await client.deployments() == []
    assert not await bench.redis.exists(bench.keys.deployments)


async def test_the_newest_are_kept(bench: Bench) -> None:
    deployments = Deployments(bench.in_redis)
    await bench.redis.zadd(bench.keys.deployments, {f"v{n}": n for n in range(60)})
    await deployments.record("new")
    labels = [each.version_label for each in await deployments.all()]
    assert labels == ["new", *(f"v{n}" for n in reversed(range(11, 60)))]
    await deployments.record("v59")
    assert len(await deployments.all()) == 50


async def test_malformed_times_are_left_out(bench: Bench, client: Client) -> None:
    times = {"v1": 7, "negative": -5, "huge": 1e300, "endless": math.inf, "never": -math.inf}
    await bench.redis.zadd(bench.keys.deployments, times)
    assert await client.deployments() == [Deployment("v1", 7)]


async def test_a_key_of_another_type_keeps_no_pool_from_starting(
    bench: Bench, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.redis.set(bench.keys.deployments, "junk")
    async with bench.pool(version_label="v1").running():
        assert await client.deployments() == []
    assert "the start of version v1 was not recorded: " in caplog.text
    problems = (await client.diagnose(0)).problems
    assert bench.keys.deployments in str([each for each in problems if each.kind == "wrong_type"])
    await bench.redis.delete(bench.keys.deployments)


# Charts


def test_a_chart_marks_deployments() -> None:
    counts = [JobCounts(60 * n) for n in range(60)]
    deployments = [
        Deployment("later", 3_600.0),
        Deployment("v2", 1_830.0),
        Deployment("v1b", 600.0),
        Deployment("v1", 630.0),
        Deployment("earlier", -1.0),
    ]
    chart = charts.chart("minutes", counts, deployments)
    assert chart.summary == (
        "Last 60 minutes: no attempts. Version v1 began on Jan 1 at 00:10. Version v1b began on Jan 1 at 00:10. "
        "Version v2 began on Jan 1 at 00:30."
    )
    svg = chart.deployments.svg
    assert svg.count("<line ") == 3
    assert '<line x1="50.83%" x2="50.83%" y1="20" y2="100%"><title>Version v2 began on Jan 1 at 00:30</title>' in svg
    # The label of v1 has no room beside that of v1b.
    assert [each.partition(">")[2] for each in svg.split("</text>")[:-1]][-1].endswith("v1b")
    assert svg.count("<text ") == 2
    assert 'text-anchor="end">v2</text>' in svg
    assert "style" not in svg
    assert 'title="00:30: no attempts. Version v2 began on Jan 1 at 00:30"' in chart.hits
    assert (
        'title="00:10: no attempts. Version v1b began on Jan 1 at 00:10, Version v1 began on Jan 1 at 00:10"'
        in chart.hits
    )
    plain = charts.chart("minutes", counts, [])
    assert (plain.deployments.svg, plain.summary) == ("", "Last 60 minutes: no attempts.")


def test_a_mark_escapes_what_redis_holds() -> None:
    marks = deployment_marks([Deployment("<b>\u202e", 5.0)], 0, 60, 60)
    assert "<b>" not in marks.svg
    assert "\u202e" not in marks.svg + marks.sentences[0]
    assert "&lt;b&gt;" in marks.svg
    assert deployment_marks([], 0, 60, 0).svg == ""


def test_a_histogram_compares_the_days_before_and_since_a_deployment() -> None:
    fast, slow, none = (
        RunTimes(BOUNDS, (*[0] * at, count, *[0] * (25 - at))) for at, count in ((7, 10), (10, 20), (0, 0))
    )
    days = [(f"1970-01-0{n}", slow if n < 4 else fast) for n in range(1, 8)]
    chart = histograms.histogram(days, [Deployment("v2", 3.5 * DAY), Deployment("v1", 0.0)])
    assert chart is not None
    assert [(each.title, each.attempts) for each in chart.periods] == [
        ("Before v2", "60"),
        ("Jan 4, when v2 began", "10"),
        ("Since then, v2", "30"),
    ]
    assert [(each.p50, each.p95) for each in chart.periods][1:] == [("96 ms", "125 ms")] * 2
    today = histograms.histogram(days, [Deployment("v2", 6.5 * DAY)])
    assert today is not None
    assert [each.title for each in today.periods] == ["Before v2", "Jan 7, when v2 began"]
    for started_at in (0.5 * DAY, -DAY, 7.5 * DAY):
        other = histograms.histogram(days, [Deployment("v2", started_at)])
        assert other is not None
        assert other.periods == []
    idle = histograms.histogram([("1970-01-01", none), *days[1:]], [Deployment("v2", 1.5 * DAY)])
    assert idle is not None
    assert (idle.periods[0].attempts, idle.periods[0].p50) == ("0", "–")


async def test_the_pages_show_versions(bench: Bench) -> None:
    pool = bench.pool(version_label="v1.4.2")

    @pool.job
    async def wat() -> None: ...

    async with pool.running(), serving(bench) as (_, web):
        for path in ("/", "/queue?name=wat"):
            html = (await web.get(path)).text
            assert html.count('<svg class="deployments"') == (2 if path == "/" else 1), path
            assert ">v1.4.2</text>" in html
        assert "version v1.4.2" in (await web.get("/busy")).text
        [found] = (await web.get("/api/deployments")).json()["deployments"]
        assert found["version_label"] == "v1.4.2"
        [shown] = (await web.get("/api/pools")).json()["pools"]
        assert shown["version_label"] == "v1.4.2"
        assert 'asyncwork_namespace_version_pools{version_label="v1.4.2"} 1' in (await web.get("/metrics")).text
