"""Flows in the web UI, its JSON API and the terminal."""

from __future__ import annotations

import asyncio
import html as escapes
import json
import re
import threading
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from asyncwork import Client, Job, WorkerPool
from asyncwork._admin import time_slices
from asyncwork.cli import main
from asyncwork.cli.flow_tree import tree_lines
from asyncwork.models.batches import BatchStatus
from asyncwork.models.flows import FlowStatus, NodeGroup
from asyncwork.web import flow_layout, flow_pages

from .conftest import Bench, open_bench, until
from .test_flow_graph import group
from .test_web_api import error, get
from .test_web_pages import page, words
from .web_app import serving


class Flows:
    """A pool whose jobs fail when a test says so."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.pool: WorkerPool[Any] = bench.pool()
        self.failing: set[int] = set()

        @self.pool.job(max_fails=1)
        async def load(job: Job, number: int) -> int:
            if number in self.failing:
                raise ValueError(f"number {number}")
            return number

        @self.pool.job
        async def note(job: Job, what: str) -> None: ...

        self.load, self.note = load, note

    async def start(self, name: str = "import") -> str:
        """Start a flow of seven nodes; return its id."""
        flow = self.pool.flow(name, tags=["a&b"], unique="import 42")
        split = flow.add(self.load.call(100), label="<split>")
        loads = flow.add_many((self.load.call(number) for number in range(3)), after=split)
        flow.add(self.note.call("report"), after=loads, label="report")
        flow.add(self.note.call("undo"), after=loads, when="failure", label="undo")
        flow.add(self.note.call("clean up"), after=[split, loads], when="done", label="clean up")
        await flow.start()
        return flow.id

    async def ended(self, flow_id: str) -> None:
        await until(lambda: self.bench.redis.hexists(self.bench.keys.batch(flow_id)[0], "ended_at"))


@pytest.fixture
async def flows(bench: Bench) -> AsyncIterator[Flows]:
    flows = Flows(bench)
    yield flows
    await flows.pool.enqueuer.close()


@pytest.fixture
async def client(bench: Bench) -> AsyncIterator[Client]:
    async with Client(bench.url, namespace=bench.namespace) as client:
        yield client


@pytest.fixture
async def web(bench: Bench) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(bench) as (_, client):
        yield client


def boxes(html: str) -> dict[str, tuple[str, str]]:
    """Return the state and the address of each box of a graph, by what it says to screen readers."""
    found = re.findall(r'<a href="([^"]*)" class="box (\w+)" aria-label="([^"]*)"', html)
    return {escapes.unescape(label): (state, escapes.unescape(link)) for link, state, label in found}


async def test_the_page_of_a_flow_shows_its_graph(flows: Flows, web: httpx.AsyncClient) -> None:
    flow_id = await flows.start()
    html = await page(web, f"/batch?id={flow_id}")
    assert boxes(html) == {
        "<split> (load); enqueued": ("enqueued", f"/jobs/{flow_id}-0"),
        "load: 3 nodes; 3 waiting": ("waiting", f"/batch/nodes?id={flow_id}&group=1"),
        "report (note); waiting": ("waiting", f"/jobs/{flow_id}-4"),
        "undo (note); waiting; runs only after a failure": ("waiting", f"/jobs/{flow_id}-5"),
        "clean up (note); waiting; runs however the others end": ("waiting", f"/jobs/{flow_id}-6"),
    }
    waiting = words(await page(web, f"/jobs/{flow_id}-4"))
    assert "This node of the flow is waiting. It runs when those before it have ended." in waiting
    text = words(html)
    for expected in ("Cancel the flow…", "7 nodes", "Unique by import 42", "the nodes after it are cancelled"):
        assert expected in text
    assert "flowchart TD" in html
    flows.failing = {1}
    async with flows.pool.running():
        await flows.ended(flow_id)
    html = await page(web, f"/batch?id={flow_id}")
    assert {label: state for label, (state, _) in boxes(html).items()} == {
        "<split> (load); done": "done",
        "load: 3 nodes; 2 done, 1 failed": "failed",
        "report (note); cancelled": "cancelled",
        "undo (note); done; runs only after a failure": "done",
        "clean up (note); done; runs however the others end": "done",
    }
    assert "Failed nodes" in html
    assert "ValueError: number 1" in html
    sections = (await web.get("/live/poll", params={"path": "/batch", "id": flow_id})).json()["sections"]
    assert 'class="box failed"' in sections["graph"]
    # The page of a job leads to its flow, also if nothing else is known of the job.
    text = words(await page(web, f"/jobs/{flow_id}-1"))
    assert "This node of the flow is done. Nothing else is kept of the job." in text
    await page(web, f"/jobs/{flow_id}-7", 404)
    assert f'<dt>Flow</dt><dd class="id"><a href="/batch?id={flow_id}">' in await page(web, f"/jobs/{flow_id}-2")


async def test_a_flow_is_retried_on_its_page(flows: Flows, web: httpx.AsyncClient) -> None:
    flows.failing = {1}
    async with flows.pool.running():
        flow_id = await flows.start()
        await flows.ended(flow_id)
        html = await page(web, f"/batch?id={flow_id}")
        assert f"/api/batches/retry?id={flow_id}" in html
        flows.failing = set()
        response = await web.post(f"/api/batches/retry?id={flow_id}", data={"back": f"/batch?id={flow_id}"})
        assert response.status_code == 303

        async def succeeded() -> bool:
            return bool((await get(web, "/api/batch", id=flow_id))["state"] == "succeeded")

        await until(succeeded)
        assert "report (note); done" in boxes(await page(web, f"/batch?id={flow_id}"))


async def test_a_flow_is_cancelled_on_its_page(flows: Flows, web: httpx.AsyncClient) -> None:
    flow_id = await flows.start("<nightly>")
    text = words(await page(web, f"/confirm?action=cancel_batch&id={flow_id}"))
    assert "Cancel the flow &lt;nightly&gt;?" in text
    assert "The nodes that wait are cancelled, and those that run are cancelled." in text
    response = await web.post(f"/api/batches/cancel?id={flow_id}", data={"back": f"/batch?id={flow_id}"})
    assert response.status_code == 303
    html = await page(web, f"/batch?id={flow_id}")
    assert {state for state, _ in boxes(html).values()} == {"cancelled"}
    assert "Cancel the flow" not in html


async def test_flows_are_marked_among_the_batches(flows: Flows, web: httpx.AsyncClient) -> None:
    flow_id = await flows.start()
    async with flows.pool.batch("plain") as batch:
        await batch.add(flows.note.options(delay=60).call("x"))
    for batch_id in (flow_id, batch.id):
        response = await web.get("/find", params={"text": batch_id}, headers={"accept": "text/html"})
        assert (response.status_code, response.headers["location"]) == (303, f"/batch?id={batch_id}")
        assert f'href="/find?text={batch_id}&amp;all=1"' in await page(web, f"/batch?id={batch_id}")
        assert await page(web, f"/find?text={batch_id}&all=1")
    html = await page(web, "/batches")
    assert html.count('<span class="tag">flow</span>') == 1
    found = (await get(web, "/api/batches"))["batches"]
    assert {each["id"]: each["is_flow"] for each in found} == {flow_id: True, batch.id: False}
    assert (await get(web, "/api/batch", id=batch.id))["flow"] is None
    assert "Graph" not in await page(web, f"/batch?id={batch.id}")
    async with Client(flows.bench.url, namespace=flows.bench.namespace) as client:
        await client.cancel_batch(flow_id)


async def test_the_nodes_of_a_group_are_listed_by_their_states(flows: Flows, web: httpx.AsyncClient) -> None:
    flows.failing = {0, 2}
    async with flows.pool.running():
        flow_id = await flows.start()
        await flows.ended(flow_id)
    html = await page(web, f"/batch/nodes?id={flow_id}&group=1")
    assert re.findall(r'<a class="main id" href="([^"]*)"', html) == [f"/jobs/{flow_id}-{n}" for n in (1, 2, 3)]
    assert "after &lt;split&gt;" in words(html)
    html = await page(web, f"/batch/nodes?id={flow_id}&group=1&state=failed")
    assert re.findall(r'<a class="main id" href="([^"]*)"', html) == [f"/jobs/{flow_id}-{n}" for n in (1, 3)]
    assert f'href="/batch/nodes?id={flow_id}&amp;group=1&amp;state=done"' in html
    assert "No node of this group is skipped." in words(
        await page(web, f"/batch/nodes?id={flow_id}&group=1&state=skipped")
    )
    # All groups as a list, for those who do not see the graph.
    html = await page(web, f"/batch/nodes?id={flow_id}")
    assert re.findall(r'<a class="main" href="([^"]*)"', html) == [
        f"/jobs/{flow_id}-0",
        f"/batch/nodes?id={flow_id}&amp;group=1",
        *(f"/jobs/{flow_id}-{n}" for n in (4, 5, 6)),
    ]
    assert "&lt;split&gt;, load however they end" in words(html)
    found = await get(web, "/api/batch/nodes", id=flow_id, group="1", state="failed")
    assert [(each["number"], each["id"]) for each in found["nodes"]] == [(1, f"{flow_id}-1"), (3, f"{flow_id}-3")]
    flow = (await get(web, "/api/batch", id=flow_id))["flow"]
    assert (flow["on_failure"], flow["unique"]) == ("cancel", "import 42")
    assert [each["states"] for each in flow["groups"]][:2] == [{"done": 1}, {"done": 1, "failed": 2}]
    assert [each["after"] for each in flow["groups"]] == [[], [0], [1], [1], [0, 1]]


async def test_the_pages_of_a_folded_flow(flows: Flows, web: httpx.AsyncClient) -> None:
    flow = flows.pool.flow("large")
    first = flow.add(flows.load.call(0))
    for number in range(70):
        flow.add(flows.load.call(number), after=first)
    await flow.start()
    found = boxes(await page(web, f"/batch?id={flow.id}"))
    address = f"/batch/nodes?id={flow.id}&fold=1"
    assert found == {
        "load; enqueued": ("enqueued", f"/jobs/{flow.id}-0"),
        "load: 70 nodes beside each other; 70 waiting": ("waiting", address),
    }
    assert "flowchart TD" in await page(web, f"/batch?id={flow.id}")
    html = await page(web, address)
    assert "70 nodes of the flow" in html
    assert html.count(f'<a class="main" href="/jobs/{flow.id}-') == 50
    assert await page(web, f"{address}&page=2")
    # A box that is not there any more, because the flow has grown: all are shown.
    assert "All nodes" in words(await page(web, f"/batch/nodes?id={flow.id}&fold=7"))
    async with Client(flows.bench.url, namespace=flows.bench.namespace) as client:
        await client.cancel_batch(flow.id)


async def test_a_large_flow_is_read_in_slices_and_laid_out_beside_the_event_loop(
    flows: Flows, web: httpx.AsyncClient, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application that embeds the web UI serves other requests meanwhile."""
    flow = flows.pool.flow("large")
    many = flow.add_many(flows.load.call(number) for number in range(300))
    for number in range(250):
        flow.add(flows.load.call(number), after=many)
    await flow.start()
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def readings() -> list[tuple[Any, int]]:
        """Return what is read of the flow, each with the turns of the event loop meanwhile."""
        found = list[tuple[Any, int]]()
        for read in (
            lambda: client.flow(flow.id),
            lambda: client.flow_nodes(flow.id, 0),
            lambda: page(web, f"/batch?id={flow.id}"),
            lambda: get(web, "/api/batch", id=flow.id),
        ):
            before = turns
            found.append((await read(), turns - before))
        return found

    threads = set[int]()

    def lay_out_somewhere(groups: Any) -> Any:
        threads.add(threading.get_ident())
        return flow_layout.lay_out(groups)

    monkeypatch.setattr(flow_pages, "lay_out", lay_out_somewhere)
    turning = asyncio.create_task(turn())
    whole = await readings()
    assert threads
    assert threading.get_ident() not in threads
    monkeypatch.setattr(time_slices, "_SLICE", 0.0)
    sliced = await readings()
    turning.cancel()
    assert [each for each, _ in sliced[:2] + sliced[3:]] == [each for each, _ in whole[:2] + whole[3:]]
    # A turn for each group and each node, at least.
    assert min(count for _, count in sliced) >= 550


async def test_a_very_long_text_for_mermaid_is_left_to_the_terminal(flows: Flows, web: httpx.AsyncClient) -> None:
    flow = flows.pool.flow("larger")
    for number in range(301):
        flow.add(flows.load.call(number))
    await flow.start()
    html = await page(web, f"/batch?id={flow.id}")
    assert "flowchart TD" not in html
    assert f"asyncwork batches graph {flow.id}" in html
    async with Client(flows.bench.url, namespace=flows.bench.namespace) as client:
        await client.cancel_batch(flow.id)


async def test_nodes_that_are_not_there(flows: Flows, web: httpx.AsyncClient) -> None:
    flow_id = await flows.start()
    gone = "w" + "0" * 23
    for path in (
        f"/batch/nodes?id={gone}",
        "/batch/nodes?id=x",
        f"/batch/nodes?id={flow_id}&group=2",
        f"/batch?id={gone}",
    ):
        assert "not found" in words(await page(web, path, 404))
    assert "there is no flow" in await error(web, "GET", "/api/batch/nodes", 404, params={"id": gone, "group": "0"})
    for given in ({}, {"id": flow_id}, {"id": "x", "group": "0"}, {"id": flow_id, "group": "0", "state": "odd"}):
        await error(web, "GET", "/api/batch/nodes", 400, params=given)
    for query in ("", f"?id={flow_id}&group=x", f"?id={flow_id}&group=1&state=odd", f"?id={flow_id}&page=x"):
        assert (await web.get(f"/batch/nodes{query}")).status_code == 400
    async with Client(flows.bench.url, namespace=flows.bench.namespace) as client:
        await client.cancel_batch(flow_id)


async def test_a_graph_that_cannot_be_read_hides_no_page(flows: Flows, web: httpx.AsyncClient) -> None:
    flow_id = await flows.start()
    nodes = flows.bench.keys.batch(flow_id)[4]
    async with Client(flows.bench.url, namespace=flows.bench.namespace) as client:
        await client.cancel_batch(flow_id)
    await flows.bench.redis.hset(nodes, "groups:1", b'{"no": "list"}')
    html = await page(web, f"/batch?id={flow_id}")
    assert boxes(html) == {}
    assert "7 nodes" in words(html)
    await page(web, f"/batch/nodes?id={flow_id}")


# The terminal


def status(*groups: NodeGroup) -> FlowStatus:
    return FlowStatus(BatchStatus("w" + "0" * 23, "x"), groups=groups)


def test_a_flow_is_a_tree() -> None:
    groups = (
        group(0, "split", done=1),
        group(1, "load", [0], 10_000, done=7_312, failed=3, enqueued=2_685),
        group(10_001, "report", [1], label="Report\x1b"),
        group(10_002, "undo", [1], when="failure"),
        group(10_003, "mail", [10_002]),
        group(10_004, "end", [10_003, 0, 1, 10_001, 10_002], when="done"),
        group(10_005, "other", enqueued=1),
        group(10_006, "left", [10_005]),
        group(10_007, "right", [10_005]),
    )
    assert tree_lines(status(*groups), 100) == [
        "split: done",
        "-> load x10,000: 7,312 done, 3 failed, 2,685 enqueued",
        "   |- Report\\x1b (report): waiting",
        "   `- undo: waiting, if one fails",
        "      -> mail: waiting",
        "      -> end: waiting, however they end  also after split, load, Report\\x1b and 1 more",
        "other: enqueued",
        "|- left: waiting",
        "`- right: waiting",
    ]
    assert tree_lines(status(*groups), 2)[1:] == [
        "-> load x10,000: 7,312 done, 3 failed, 2,685 enqueued",
        "… and 7 more groups: add --limit, or --json",
    ]


def test_a_long_chain_is_a_straight_tree() -> None:
    groups = [group(n, "step", [n - 1] if n else [], done=1) for n in range(5_000)]
    lines = tree_lines(status(*groups), 5_000)
    assert lines == ["step: done", *["-> step: done"] * 4_999]


def test_groups_that_name_others_that_are_not_there_are_in_the_tree() -> None:
    assert tree_lines(status(group(3, "a", [9, 1]), group(9, "b", [3])), 9) == [
        "a: waiting  also after b, node 1",
        "-> b: waiting",
    ]


def test_the_terminal_shows_flows_and_acts_on_them(redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    namespace = f"test-{uuid.uuid4().hex[:12]}"

    def run(*given: str) -> tuple[int, str]:
        code = main(["batches", *given, "-n", namespace, "--redis", redis_url])
        out, err = capsys.readouterr()
        return code, out + err

    async def work() -> tuple[str, str]:
        async with open_bench(redis_url, namespace) as bench:
            flows = Flows(bench)
            flows.failing = {1}
            async with flows.pool.running():
                flow_id = await flows.start()
                await flows.ended(flow_id)
                async with flows.pool.batch("plain") as batch:
                    await batch.add(flows.note.options(delay=3600).call("x"))
            return flow_id, batch.id

    flow_id, batch_id = asyncio.run(work())
    code, out = run("ls")
    assert re.search(rf"{flow_id} +import +flow +failed +5 +0 +1 +1 +7 +.* ago +a&b", out)
    assert re.search(rf"{batch_id} +plain +batch +running", out)
    code, out = run("show", flow_id)
    assert (code, f"flow {flow_id} import: failed" in out) == (0, True)
    lines = [line.strip() for line in out.splitlines()]
    tree = lines[lines.index("<split> (load): done") :]
    assert tree[1] == "-> load x3: 2 done, 1 failed"
    assert f"failed: load {flow_id}-2 dead: ValueError: number 1" in out
    assert {"after a failure: cancel", "unique: import 42"} < set(lines)
    (shown,) = json.loads(run("show", flow_id, "--json")[1])["batches"]
    assert shown["groups"][1]["states"] == {"done": 2, "failed": 1}
    assert (shown["on_failure"], shown["kind"]) == ("cancel", "flow")
    assert {each["kind"] for each in json.loads(run("--json")[1])["batches"]} == {"batch", "flow"}
    code, out = run("graph", flow_id)
    assert (code, out.startswith("flowchart TD\n")) == (0, True)
    assert run("graph", batch_id) == (
        1,
        f"asyncwork batches: batch {batch_id} is no flow: its members do not run after one another\n",
    )
    for given in (["graph"], ["graph", flow_id, batch_id], ["graph", flow_id, "--json"]):
        assert run(*given)[0] == 2
    assert run("retry", flow_id) == (0, f"flow {flow_id} (import): 1 dead node put on its queue\n")
    assert run("retry", flow_id) == (1, "asyncwork batches: no node of the flow is dead\n")
    code, out = run("cancel", flow_id, "--yes")
    assert (code, f"flow {flow_id} (import) is cancelled: " in out) == (0, True)
    assert run("cancel", flow_id, "--yes") == (1, "asyncwork batches: the flow has ended already\n")

    async def end() -> None:
        async with open_bench(redis_url, namespace, delete=True), Client(redis_url, namespace=namespace) as client:
            await client.cancel_batch(batch_id)

    asyncio.run(end())
