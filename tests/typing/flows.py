"""Flows: the results of nodes are of the types that handlers return."""

from typing import assert_type

from asyncwork import Enqueuer, Flow, FlowHandle, FlowStatus, Job, Node, Nodes, WorkerPool, sync

pool = WorkerPool()


@pool.job
async def size_of(path: str) -> int:
    return 0


@pool.job
def name_of(size: int) -> str:
    return ""


@pool.job
async def total(sizes: list[int]) -> None: ...


async def accepted(job: Job, enqueuer: Enqueuer) -> None:
    flow = pool.flow("x", on_failure="continue", unique="y", tags=["z"])
    assert_type(flow, Flow)
    size = flow.add(size_of.call("a"), label="size")
    assert_type(size, Node[int])
    assert_type(size.result, int)
    name = flow.add(name_of.call(size.result), after=[size, flow.add("other", {"a": 1})], when="done")
    assert_type(name.result, str)
    sizes = flow.add_many((size_of.call(each) for each in "ab"), after=name)
    assert_type(sizes, Nodes[int])
    assert_type(sizes.results, list[int])
    assert_type([each.result for each in sizes], list[int])
    flow.add(total.call(sizes.results), after=sizes)
    flow.add_many("other", [{"a": 1}])
    handle = await flow.start()
    assert_type(handle, FlowHandle)
    assert_type(await handle.wait(timeout=60), FlowStatus)
    assert_type(await handle.graph(), str)
    await pool.chain(size_of.call("a"), lambda size: name_of.call(size), ("other", None)).start()
    await enqueuer.chain(size_of.call("a")).start()
    assert_type((await job.flow.add(size_of.call("a"), after=job)).result, int)
    await job.flow.add_many([size_of.call("a")], after=[job, size])
    assert_type(sync.Enqueuer().flow().start(), str)


async def refused() -> None:
    flow = pool.flow()
    size = flow.add(size_of.call("a"))
    flow.add(size_of.call(size.result))  # E: "str"
    flow.add(total.call(flow.add_many([name_of.call(1)]).results))  # E: list[int]
    flow.add(size_of.call("a"), after=5)  # E: No overload
    flow.add(size_of.call("a"), when="never")  # E: No overload
    pool.flow(on_failure="stop")  # E: Literal[
