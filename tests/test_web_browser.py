"""Pages of the web UI in a browser, with and without scripts, and while Redis or the server is unavailable."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page, Request, async_playwright, expect
from playwright.async_api import TimeoutError as PlaywrightTimeoutError
from redis.asyncio import Redis

from asyncwork import Job
from asyncwork.client import Client
from asyncwork.embedded import EmbeddedRedis
from asyncwork.web import actions, sse

from . import web_screens
from .browser import CHROMIUM, SWITCHES, Server, free_port
from .conftest import LIMIT, Bench, until
from .payloads import failed, payload, put
from .test_web_pages import HOSTILE, fill
from .web_app import PLAIN_PAGES

AUDIT = (Path(__file__).parent / "browser_audit.js").read_text()
PAGES = (*PLAIN_PAGES, "/find?text=pay")
IMPORT = next(iter(web_screens.FLOWS))
# Milliseconds.
PATIENCE = 1_000 * LIMIT

expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """Use one event loop for all tests of this module, so that they can share a browser."""
    return "asyncio"


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Yield the browser that all tests of this module share."""
    if not os.path.exists(CHROMIUM):
        if os.environ.get("CI") or os.environ.get("ASYNCWORK_REQUIRE_ALL"):
            pytest.fail("there is no chromium, and these tests must not be skipped here")
        pytest.skip("there is no chromium on this machine (apt install chromium)")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield browser
        await browser.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make pages update often and reconnect quickly."""
    monkeypatch.setattr(sse, "_INTERVAL", 0.15)
    monkeypatch.setattr(sse, "_PAUSE_FACTOR", 1)
    monkeypatch.setattr(sse, "_RECONNECT_MS", 200)
    # A busy machine may take long to find a job.
    monkeypatch.setattr("asyncwork.web.job_status._LOOKUP_TIMEOUT", LIMIT)


class Tab:
    """A page in the browser; any error in its console fails the test.

    :ivar allowed: complaints that the test expects.
    """

    def __init__(self, page: Page, base: str) -> None:
        self.page = page
        self.base = base
        self.allowed = "$^"
        self.complaints: list[str] = []
        hears: dict[Any, Callable[[Any], None]] = {
            "console": lambda message: self._hear(f"{message.type}: {message.text}", message.type),
            "pageerror": lambda error: self.complaints.append(f"pageerror: {error}"),
            "dialog": lambda dialog: self.complaints.append(f"dialog: {dialog.message}"),
        }
        self._hears = hears
        for event, hear in hears.items():
            page.on(event, hear)
        page.set_default_timeout(PATIENCE)

    async def close(self) -> None:
        """Leave the page as if nothing had been opened in it."""
        self.check()
        await self.leave()
        await self.page.evaluate("localStorage.clear(); sessionStorage.clear()")
        await self.page.unroute_all()
        await self.page.goto("about:blank")
        await self.page.context.clear_cookies()
        self.check()
        for event, hear in self._hears.items():
            self.page.remove_listener(event, hear)

    def _hear(self, text: str, kind: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    async def open(self, path: str) -> None:
        await self.page.goto(self.base + path, wait_until="load")

    def check(self) -> None:
        complaints = [each for each in self.complaints if not re.search(self.allowed, each)]
        assert not complaints, complaints

    async def toast(self, text: str) -> None:
        await expect(self.page.locator(".toast", has_text=text)).to_be_visible()

    async def leave(self) -> None:
        """Move the pointer away from every list."""
        await self.page.mouse.move(2, 2)

    async def aim(self) -> None:
        """Let as much time pass as a hand needs when rows have moved: a click that comes sooner is ignored."""
        await asyncio.sleep(0.4)

    async def click(self, target: Any) -> None:
        """Click, once more whenever the page has ignored it because rows had just moved."""
        ignored = self.page.locator(".toast", has_text="The list has just moved")
        while True:
            await self.aim()
            await self.page.evaluate("for (const each of document.querySelectorAll('.toast')) each.remove()")
            await target.click()
            if not await ignored.count():
                return

    def row(self, text: str) -> Any:
        return self.page.locator("[data-live] tbody tr", has_text=text)


@asynccontextmanager
async def tab(browser: Browser, base: str, **options: Any) -> AsyncIterator[Tab]:
    context: BrowserContext = await browser.new_context(**options)
    try:
        tab = Tab(await context.new_page(), base)
        yield tab
        tab.check()
    finally:
        await context.close()


class Pages:
    """Pages that tests use one after the other, because a new one costs a second of CPU time.

    Each test has its own server, and so its own origin. A page that a test leaves with a complaint is not used again.
    """

    def __init__(self, browser: Browser, **options: Any) -> None:
        self._browser = browser
        self._options = options
        self._context: BrowserContext | None = None

    @asynccontextmanager
    async def tab(self, base: str) -> AsyncIterator[Tab]:
        context, self._context = self._context or await self._browser.new_context(**self._options), None
        try:
            tab = Tab(context.pages[0] if context.pages else await context.new_page(), base)
            yield tab
            await tab.close()
        except BaseException:
            await context.close()
            raise
        self._context = context


@pytest.fixture(scope="module")
async def pages(browser: Browser) -> Pages:
    return Pages(browser)


@pytest.fixture(scope="module")
async def bare_pages(browser: Browser) -> Pages:
    return Pages(browser, java_script_enabled=False)


@pytest.fixture
async def server(bench: Bench) -> AsyncIterator[Server]:
    with Server(bench.url, bench.namespace) as server:
        yield server


@pytest.fixture
async def shown(pages: Pages, server: Server) -> AsyncIterator[Tab]:
    """Yield a tab with the web UI of a bench."""
    async with pages.tab(server.base) as shown:
        yield shown


@pytest.fixture
async def bare(bare_pages: Pages, server: Server) -> AsyncIterator[Tab]:
    """Yield a tab like `shown`, without scripts."""
    async with bare_pages.tab(server.base) as bare:
        yield bare


async def count(bench: Bench, location: str) -> int:
    key = bench.keys.location(location)
    if location.startswith("queue:") or location == "quarantine":
        return int(await bench.redis.llen(key))
    return int(await bench.redis.zcard(key))


def holds(bench: Bench, location: str, wanted: int) -> Callable[[], Any]:
    async def look() -> bool:
        return await count(bench, location) == wanted

    return look


# Looks


@pytest.mark.parametrize("width", [1_280, 390], ids=["desk", "phone"])
async def test_everybody_can_use_every_page(browser: Browser, redis_url: str, width: int) -> None:
    redis = Redis.from_url(redis_url, protocol=2)
    phone = width < 600
    look = {"is_mobile": phone, "has_touch": phone, "reduced_motion": "reduce"}
    try:
        async with web_screens.living(redis_url):
            await redis.lpush(f"{web_screens.NAMESPACE}:quarantine", json.dumps({"no": "entry"}))
            with Server(redis_url, web_screens.NAMESPACE) as server:
                async with tab(browser, server.base, viewport={"width": width, "height": 844}, **look) as shown:
                    await _use_every_page(shown, phone)
    finally:
        await redis.delete(*[key async for key in redis.scan_iter(f"{web_screens.NAMESPACE}:*")])
        await redis.aclose()
        await redis.connection_pool.disconnect()


async def _use_every_page(shown: Tab, phone: bool) -> None:
    page = shown.page
    shown.allowed = "404"

    async def audit() -> None:
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme)
            assert await page.evaluate(AUDIT, phone) == [], f"{page.url} {scheme}"

    await shown.open("/dead?name=charge_card")
    job = await page.locator("td.job a").first.get_attribute("href") or ""
    for path in (
        *PAGES,
        job,
        "/queue?name=send_email",
        "/confirm?action=delete&location=dead",
        "/confirm?action=cancel&location=scheduled",
        "/confirm?action=cancel&id=5f2",
        "/?as=minutes",
        "/queue?name=resize_image",
        "/periodic/job?key=a",
        "/periodic/job?key=a&spec=%2A",
        "/periodic/new?name=wat&spec=@daily&tz=Europe/Berlin",
        f"/jobs/{web_screens.STEPPING}",
        *(f"/batch?id={batch_id}" for batch_id in (*web_screens.BATCHES, *web_screens.FLOWS)),
        f"/batch/nodes?id={IMPORT}",
        f"/batch/nodes?id={IMPORT}&group=1&state=failed",
        "/confirm?action=reset_periodic&key=a",
        "/nothing",
    ):
        await shown.open(path)
        await audit()
    await shown.open("/queues")
    await page.locator(".menu summary").first.click()
    if not phone:
        await page.locator(".tool.keys").click()
    await audit()
    await shown.open("/dead")
    await page.locator("td.tick label").first.click()
    await page.locator("#many").get_by_role("button", name="Delete").click()
    await shown.toast("1 job deleted")
    # Until the list is read again, the deleted row is pale.
    await expect(page.locator(".gone")).to_have_count(0)
    await audit()
    await page.locator(".whole a", has_text="Delete…").click()
    await expect(page.locator("dialog:modal")).to_be_visible()
    await audit()


async def test_a_periodic_job_is_added_paused_run_and_removed(bench: Bench, shown: Tab) -> None:
    page = shown.page
    await shown.open("/periodic")
    await page.get_by_role("link", name="Add…").click()
    await page.get_by_label("Job", exact=True).fill("clean")
    await page.get_by_label("Schedule").fill("0 30 2 * * *")
    await page.get_by_label("Time zone").fill("Europe/Berlin")
    await page.get_by_label("Arguments").fill('{"days": 7}')
    await page.get_by_role("button", name="Check").click()
    await expect(page.locator(".checked li")).to_have_count(3)
    await page.get_by_role("button", name="Add").click()
    await expect(page.locator(".flash")).to_have_text("Periodic job added.")
    await expect(shown.row("clean")).to_contain_text("added")
    await shown.click(shown.row("clean").get_by_role("button", name="Pause clean"))
    await shown.toast("Periodic job paused.")
    await expect(shown.row("clean")).to_contain_text("it is paused")
    await shown.click(shown.row("clean").get_by_role("button", name="Run now clean"))
    await shown.toast("Enqueued, beside the schedule.")
    (raw,) = await bench.waiting("clean")
    job_id = json.loads(raw)["id"]
    assert json.loads(raw)["args"] == {"days": 7}
    await expect(page.locator(".toast a")).to_have_attribute("href", f"/jobs/{job_id}")
    await shown.click(shown.row("clean").get_by_role("link", name="clean"))
    await expect(page.locator("table.runs")).to_contain_text(job_id)
    await page.get_by_label("Schedule").fill("0 45 2 * * *")
    await page.get_by_role("button", name="Check").click()
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator("dl.pairs")).to_contain_text("0 45 2 * * *")
    await page.get_by_role("link", name="Remove…").click()
    await page.locator("dialog:modal").get_by_role("button", name="Remove").click()
    await expect(page.locator(".flash")).to_have_text("Periodic job removed.")
    await expect(page.locator("tbody tr")).to_have_count(0)
    await bench.redis.delete(bench.keys.queue("clean"))


async def test_times_are_local_and_relative(bench: Bench, browser: Browser, server: Server) -> None:
    await put(bench, "retry", failed("soon"), at=int(time.time()) + 570)
    async with tab(browser, server.base, timezone_id="Asia/Kolkata", locale="en-GB") as shown:
        await shown.open("/retries")
        moment = shown.row("soon").locator("time").first
        await expect(moment).to_have_text(re.compile(r"in \d min"))
        assert "UTC" in (await moment.get_attribute("title") or "")
        await shown.open("/")
        labels = await shown.page.locator(".axis time").all_inner_texts()
        local = time.strftime("%H:%M", time.gmtime(time.time() - 59 * 60 + 19_800))
        assert labels[0] in (local, time.strftime("%H:%M", time.gmtime(time.time() - 60 * 60 + 19_800)))


async def test_a_chart_shows_the_values_under_the_pointer(shown: Tab) -> None:
    await shown.open("/")
    readout = shown.page.locator(".readout").first
    whole = await readout.inner_text()
    await shown.page.locator(".minutes .hits i").nth(7).hover()
    await expect(readout).to_have_text(re.compile(r"\d\d:\d\d: no attempts"))
    await shown.page.locator("h1").hover()
    await expect(readout).to_have_text(whole)


# Flows


async def test_the_graph_of_a_flow_follows_it(bench: Bench, shown: Tab) -> None:
    pool, go_on = bench.pool(), asyncio.Event()

    @pool.job
    async def step(name: str) -> None:
        await go_on.wait()

    page = shown.page
    async with pool.running():
        flow = pool.flow("import")
        first = flow.add(step.call("a"), label="first")
        flow.add_many((step.call("b") for _ in range(3)), after=first, label="many")
        await flow.start()
        await shown.open(f"/batch?id={flow.id}")
        boxes = page.locator("svg.flow a.box")
        await expect(boxes).to_have_count(2)
        await expect(boxes.nth(1)).to_have_class("box waiting")
        # The pointer on the graph does not keep it from following.
        await boxes.nth(1).hover()
        go_on.set()
        await expect(boxes.nth(1)).to_have_class("box done")
        await expect(boxes.nth(1).locator(".state")).to_have_text("all done")
        await expect(page.locator("h1 + .facts .tag").first).to_have_text("succeeded")
        # By the keyboard, too.
        await boxes.nth(1).focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("table.nodes tbody tr")).to_have_count(3)
        await page.get_by_role("link", name="done 3").click()
        await page.locator("table.nodes a").first.click()
        await expect(page.locator("dl.pairs")).to_contain_text(flow.id)
        await expect(page.locator("main")).to_contain_text("This node of the flow is done.")


async def test_a_wide_graph_scrolls_in_its_frame(browser: Browser, bench: Bench, server: Server) -> None:
    flow = bench.enqueuer.flow("wide")
    for number in range(12):
        flow.add("step", {"number": number})
    await flow.start()
    async with tab(
        browser, server.base, viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True
    ) as shown:
        await shown.open(f"/batch?id={flow.id}")
        widths = await shown.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert widths[0] <= widths[1]
        frame = await shown.page.locator(".graph").evaluate("each => [each.scrollWidth, each.clientWidth]")
        assert frame[0] > 5 * frame[1]
    async with Client(bench.url, namespace=bench.namespace) as client:
        await client.cancel_batch(flow.id)


@pytest.mark.parametrize("seen", ["enqueued", "failed", "done"])
async def test_a_wide_graph_opens_at_what_runs_or_has_failed_or_in_its_middle(
    bench: Bench, browser: Browser, server: Server, seen: str
) -> None:
    pool, go_on = bench.pool(), asyncio.Event()

    @pool.job(max_fails=1)
    async def step(number: int) -> None:
        if number == 5 and seen != "done":
            raise ValueError("five")
        if number == 15 and seen == "enqueued":
            await go_on.wait()

    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        flow = pool.flow("wide", on_failure="continue")
        for number in range(21):
            flow.add(step.call(number), label=f"step {number}")
        await flow.start()
        await until(lambda: _has_left(client, flow.id, int(seen == "enqueued")))
        async with tab(browser, server.base, viewport={"width": 390, "height": 844}) as shown:
            await shown.open(f"/batch?id={flow.id}")
            box = shown.page.locator("svg.flow a.box").nth({"enqueued": 15, "failed": 5, "done": 10}[seen])
            await expect(box).to_have_class(f"box {seen}")
            distance = """(box) => {
                const at = box.getBoundingClientRect(), frame = box.closest(".graph").getBoundingClientRect();
                return at.x + at.width / 2 - frame.x - frame.width / 2;
            }"""
            assert abs(await box.evaluate(distance)) < 3
            # Where it is put by hand, it stays while it follows the flow.
            await shown.page.locator(".graph").evaluate("(graph) => { graph.scrollLeft = 100; }")
            go_on.set()
            await expect(shown.page.locator("h1 + .facts .tag").first).to_have_text(
                "succeeded" if seen == "done" else "failed"
            )
            assert await shown.page.locator(".graph").evaluate("(graph) => graph.scrollLeft") == 100


async def _has_left(client: Client, batch_id: str, left: int) -> bool:
    found = await client.batch(batch_id)
    return found is not None and found.left == left


async def test_the_text_for_mermaid_is_copied(bench: Bench, browser: Browser, server: Server) -> None:
    flow = bench.enqueuer.flow("copied")
    flow.add("step", {})
    await flow.start()
    async with tab(browser, server.base, permissions=["clipboard-read", "clipboard-write"]) as shown:
        await shown.open(f"/batch?id={flow.id}")
        await shown.page.locator(".mermaid summary").click()
        await shown.page.get_by_role("button", name="Copy").click()
        await shown.toast("Copied.")
        copied = await shown.page.evaluate("navigator.clipboard.readText()")
        assert copied.startswith("flowchart TD")
        assert copied == await shown.page.locator("#mermaid-text").text_content()
    async with Client(bench.url, namespace=bench.namespace) as client:
        await client.cancel_batch(flow.id)


async def test_an_event_is_sent_on_the_page_of_its_job(bench: Bench, shown: Tab) -> None:
    pool, got = bench.pool(), list[Any]()

    # The page follows the job, also when it has ended.
    @pool.job(result=60)
    async def order(job: Job) -> None:
        await job.step("charge", str, "x")
        got.append(await job.event("approved", timeout=3600))
        got.append(await job.event("shipped", timeout=3600))

    page = shown.page
    async with pool.running():
        job = await order.enqueue()
        await until(lambda: bench.redis.zcard(bench.keys.scheduled))
        await shown.open(f"/jobs/{job.id}")
        await page.get_by_text("Send another event").click()
        other = page.locator(".send form")
        await other.get_by_label("Event").fill("shipped")
        await other.get_by_label("Value").fill('{"parcel": 7}')
        await other.get_by_role("button").click()
        await shown.toast("Event sent.")
        await expect(page.locator(".steps li", has_text="shipped")).to_contain_text("before it was asked for")
        waiting = page.locator(".steps li.waits", has_text="approved")
        await waiting.get_by_label("Value").fill("true")
        await waiting.get_by_role("button").click()
        await until(lambda: len(got) == 2)
    assert got == [True, {"parcel": 7}]


# Acts


async def test_one_job_at_a_time(bench: Bench, shown: Tab) -> None:
    await put(bench, "dead", failed("pay"), failed("mail"))
    await shown.open("/dead")
    await shown.row("pay").get_by_role("button", name="Retry").click()
    await shown.toast("1 job requeued.")
    await expect(shown.row("pay")).to_have_count(0)
    assert await count(bench, "queue:pay") == 1
    await shown.row("mail").get_by_role("button", name="Delete").click()
    await shown.toast("1 job deleted.")
    await expect(shown.page.locator("main")).to_contain_text("No dead jobs.")
    await shown.page.locator(".toast button").click()
    await shown.toast("1 job restored.")
    await expect(shown.row("mail")).to_be_visible()


@pytest.mark.parametrize(
    ("location", "path", "label"), [("retry", "/retries", "Retry"), ("scheduled", "/scheduled", "Run now")]
)
async def test_before_their_time(bench: Bench, shown: Tab, location: str, path: str, label: str) -> None:
    await put(bench, location, payload("pay"), payload("mail"), at=time.time() + 900)
    await shown.open(path)
    await shown.row("pay").get_by_role("button", name=label).click()
    await until(holds(bench, "queue:pay", 1))
    await expect(shown.row("pay")).to_have_count(0)
    await shown.click(shown.row("mail").get_by_role("button", name="Delete"))
    await until(holds(bench, location, 0))


async def test_some_of_them(bench: Bench, shown: Tab) -> None:
    await put(bench, "dead", *(failed(f"job{number}") for number in range(5)))
    await shown.open("/dead")
    picked = shown.page.locator(".picked")
    await expect(picked).to_be_hidden()
    for name in ("job1", "job3"):
        await shown.row(name).locator("input").check()
    await expect(shown.page.locator(".chosen")).to_have_text("2 selected")
    await picked.get_by_role("button", name="Delete").click()
    await shown.toast("2 jobs deleted.")
    assert await count(bench, "dead") == 3
    await shown.page.locator("[data-every]").check()
    await picked.get_by_role("button", name="Retry").click()
    await shown.toast("3 jobs requeued.")
    assert await count(bench, "dead") == 0


async def test_all_that_match(bench: Bench, shown: Tab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "_SLICE", 0.0)
    monkeypatch.setattr("asyncwork.web.job_pages._COUNT_TIMEOUT", 0.0)
    await put(bench, "dead", *(failed("mail" if number % 2 else "pay") for number in range(2_000)))
    await shown.open("/dead?name=mail")
    await shown.page.locator(".whole a", has_text="Delete…").click()
    dialog = shown.page.locator("dialog:modal")
    await expect(dialog).to_contain_text("1,000 jobs match")
    await dialog.get_by_role("button", name="Delete").click()
    await shown.toast("1,000 jobs deleted.")
    await expect(dialog).to_have_count(0)
    assert await count(bench, "dead") == 1_000
    await shown.open("/dead")
    await shown.page.locator(".whole a", has_text="Retry…").click()
    await expect(dialog).to_be_visible()
    await shown.page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)
    assert await count(bench, "dead") == 1_000
    await shown.page.locator(".whole a", has_text="Retry…").click()
    await dialog.get_by_role("button", name="Retry").click()
    await shown.toast("1,000 jobs requeued.")
    assert await count(bench, "queue:pay") == 1_000


async def test_stopped_half_way(bench: Bench, shown: Tab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "_SLICE", 0.0)
    await put(bench, "dead", *(failed("mail") for _ in range(4_000)))

    async def slowly(route: Any) -> None:
        await asyncio.sleep(0.2)
        await route.continue_()

    await shown.page.route("**/api/jobs/retry*", slowly)
    await shown.open("/dead")
    await shown.page.locator(".whole a", has_text="Retry…").click()
    dialog = shown.page.locator("dialog:modal")
    await dialog.get_by_role("button", name="Retry").click()
    await expect(dialog.locator("progress")).to_be_visible()
    await expect(dialog).to_contain_text(re.compile(r"of about [1-4],\d00"))
    await dialog.get_by_role("button", name="Stop").click()
    await shown.toast("Stopped.")
    assert 0 < await count(bench, "dead") < 4_000


async def test_the_confirmation_page_works_with_scripts_too(bench: Bench, shown: Tab) -> None:
    await put(bench, "dead", *(failed("mail") for _ in range(3)))
    await shown.open("/confirm?action=retry&location=dead")
    await shown.page.get_by_role("button", name="Retry").click()
    await shown.page.wait_for_url("**/dead")
    assert await count(bench, "queue:mail") == 3


async def test_a_queue(bench: Bench, shown: Tab) -> None:
    await put(bench, "queue:pay", *(payload("pay") for _ in range(3)))
    await shown.open("/queues")
    row = shown.row("pay")
    await row.get_by_role("button", name="Pause").click()
    await shown.toast("Queue paused.")
    await expect(row).to_contain_text("paused")
    await row.get_by_role("button", name="Unpause").click()
    await shown.toast("Queue unpaused.")
    await row.locator("summary").click()
    await row.get_by_label("Maximum running").fill("7")
    await row.get_by_role("button", name="Set").first.click()
    await shown.toast("Limit set.")
    await expect(row).to_contain_text("0 of 7")
    await row.locator("summary").click()
    await row.get_by_role("link", name="Empty…").click()
    dialog = shown.page.locator("dialog:modal")
    await expect(dialog).to_contain_text("Empty the queue pay?")
    await dialog.get_by_role("button", name="Empty").click()
    await shown.toast("3 jobs deleted.")
    await shown.page.locator(".toast button").click()
    await until(holds(bench, "queue:pay", 3))
    await shown.open("/queue?name=pay")
    await shown.row("pay").first.get_by_role("button", name="Delete").click()
    await until(holds(bench, "queue:pay", 2))
    await bench.redis.delete(bench.keys.queue("pay"))
    await shown.open("/queues")
    await row.locator("summary").click()
    await row.get_by_role("link", name="Forget…").click()
    await dialog.get_by_role("button", name="Forget").click()
    await shown.toast("Queue forgotten.")
    await expect(shown.page.locator("main")).to_contain_text("No queues yet.")


async def test_a_failed_action_shows_its_error(bench: Bench, shown: Tab) -> None:
    await put(bench, "dead", b"no job at all")
    shown.allowed = "400"
    await shown.open("/dead")
    await shown.page.get_by_role("button", name="Retry", exact=True).last.click()
    await shown.toast("a payload that is not a job cannot be put on a queue")


async def test_one_job_by_itself(bench: Bench, shown: Tab) -> None:
    await put(bench, "dead", failed("pay", args={"a": {"b": [1, 2]}}))
    await shown.open("/dead")
    await shown.page.get_by_role("link", name="pay").click()
    await expect(shown.page.locator("h1")).to_have_text("pay")
    await shown.page.locator(".tree summary").first.click()
    await expect(shown.page.locator(".tree .num").first).to_be_hidden()
    await shown.page.get_by_role("button", name="Retry").click()
    await shown.toast("1 job requeued.")
    await expect(shown.page.locator("h1")).to_have_text("pay")
    await expect(shown.page.locator(".head .tag")).to_have_text("queued")


async def test_a_job_is_followed_and_cancelled_on_its_page(bench: Bench, shown: Tab) -> None:
    begun, further = asyncio.Event(), asyncio.Event()
    pool = bench.pool()

    @pool.job("import", result=60, stream=60)
    async def imports(job: Job) -> None:
        job.progress(1_000, 4_000, "reading")
        begun.set()
        await further.wait()
        job.progress(3_000, 4_000, "writing")
        await job.emit("a chunk")
        await asyncio.Event().wait()

    job_id = (await bench.enqueuer.enqueue("import")).id
    page = shown.page
    await shown.open(f"/jobs/{job_id}")
    await page.evaluate("window.neverReloaded = true")
    await expect(page.locator(".head .tag")).to_have_text("queued")
    async with pool.running():
        await asyncio.wait_for(begun.wait(), LIMIT)
        await expect(page.locator(".head .tag")).to_have_text("running")
        await expect(page.locator(".checkin")).to_have_text("1,000 of 4,000 · 25 % · reading")
        further.set()
        await expect(page.locator(".checkin")).to_have_text("3,000 of 4,000 · 75 % · writing")
        await expect(page.locator(".chunks li")).to_have_text('"a chunk"')
        await page.get_by_role("link", name="Cancel this job").click()
        dialog = page.get_by_role("dialog")
        await expect(dialog).to_contain_text("Cancel this job?")
        await dialog.get_by_label("Reason").fill("wrong file")
        await dialog.get_by_role("button", name="Cancel").click()
        await shown.toast("1 job cancelled, or asked to end.")
        await expect(page.locator(".head .tag")).to_have_text("cancelled")
        await expect(page.get_by_role("link", name="Cancel this job")).to_have_count(0)
    await expect(page.locator("#known")).to_contain_text("wrong file")
    assert await page.evaluate("window.neverReloaded")


async def test_all_that_match_are_cancelled(bench: Bench, shown: Tab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "_SLICE", 0.0)
    await put(bench, "scheduled", *(payload("pay") for _ in range(3)), payload("mail"), at=time.time() + 900)
    await shown.open("/scheduled?name=pay")
    await shown.page.locator(".whole").get_by_role("link", name="Cancel").click()
    dialog = shown.page.get_by_role("dialog")
    await expect(dialog.locator(".count")).to_have_text("3 jobs match")
    await dialog.get_by_label("Reason").fill("closed")
    await dialog.get_by_role("button", name="Cancel").click()
    await shown.toast("3 jobs cancelled, or asked to end.")
    assert await count(bench, "scheduled") == 1
    await shown.open("/scheduled")
    await shown.row("mail").get_by_role("link", name="Cancel").click()
    await dialog.get_by_role("button", name="Cancel").click()
    await shown.toast("1 job cancelled, or asked to end.")
    await expect(shown.row("mail")).to_have_count(0)


async def test_a_job_is_cancelled_without_scripts(bench: Bench, bare: Tab) -> None:
    await put(bench, "scheduled", payload("pay"), at=time.time() + 900)
    await bare.open("/scheduled")
    await bare.row("pay").get_by_role("link", name="Cancel").click()
    await bare.page.get_by_label("Reason").fill("closed")
    bare.allowed = "404"
    await bare.page.get_by_role("button", name="Cancel").click()
    await expect(bare.page.locator(".flash")).to_contain_text("1 job cancelled, or asked to end.")
    assert await count(bench, "scheduled") == 0


async def test_a_payload_that_is_no_job(bench: Bench, shown: Tab) -> None:
    entry = {"at": time.time(), "from": "pay", "reason": "not JSON", "payload": "{{{"}
    await bench.redis.lpush(bench.keys.quarantine, json.dumps(entry))
    await shown.open("/")
    await shown.page.locator(".nav").get_by_role("link", name="Quarantine").click()
    await expect(shown.row("not JSON")).to_contain_text("{{{")
    await shown.row("pay").get_by_role("button", name="Delete").click()
    await until(holds(bench, "quarantine", 0))


# Without scripts


async def test_everything_works_without_scripts(bench: Bench, bare: Tab) -> None:
    page = bare.page
    await put(bench, "dead", *(failed(f"job{number}", f"error {number % 2}") for number in range(8)))
    await bare.open("/dead")
    await bare.row("job0").get_by_role("button", name="Retry").click()
    await expect(page.locator(".flash")).to_have_text("1 job requeued. Show the job")
    await bare.row("job1").get_by_role("button", name="Delete").click()
    await expect(page.locator(".flash")).to_contain_text("1 job deleted.")
    await page.locator(".flash").get_by_role("button", name="Undo").click()
    await expect(page.locator(".flash")).to_have_text("1 job restored.")
    for name in ("job2", "job3"):
        await bare.row(name).locator("input").check()
    await page.locator("#many").get_by_role("button", name="Delete").click()
    await expect(page.locator(".flash")).to_contain_text("2 jobs deleted.")
    await page.locator("#text").fill("job5")
    await page.get_by_role("button", name="Search").click()
    await expect(page.locator("td.job")).to_have_count(1)
    await page.locator(".chip").click()
    await expect(page.locator("td.job")).to_have_count(5)
    await page.locator("#kinds a").first.click()
    await expect(page.locator(".chip")).to_contain_text("error …")
    await page.locator("#many").get_by_role("link", name="Retry…").click()
    await expect(page.locator("h1")).to_have_text("Retry all dead jobs that match?")
    await expect(page.locator("main")).to_contain_text("5 jobs match")
    await page.get_by_role("button", name="Retry").click()
    await expect(page.locator(".flash")).to_have_text("5 jobs requeued.")
    assert await count(bench, "dead") == 0


async def test_queues_without_scripts(bench: Bench, bare: Tab) -> None:
    page = bare.page
    await put(bench, "queue:pay", *(payload("pay") for _ in range(3)))
    await bare.open("/queues")
    await page.get_by_role("button", name="Pause").click()
    await expect(page.locator(".flash")).to_have_text("Queue paused.")
    await page.get_by_role("button", name="Unpause").click()
    await page.locator(".menu summary >> text=More").click()
    await page.get_by_label("Maximum running").fill("4")
    await page.get_by_role("button", name="Set").first.click()
    await expect(bare.row("pay")).to_contain_text("0 of 4")
    await bare.row("pay").get_by_role("link", name="pay").click()
    await bare.row("pay").first.get_by_role("button", name="Delete").click()
    await expect(page.locator(".flash")).to_contain_text("1 job deleted.")
    await page.locator(".menu summary >> text=More").click()
    await page.get_by_role("link", name="Empty…").click()
    await page.get_by_role("button", name="Empty").click()
    await expect(page.locator(".flash")).to_contain_text("2 jobs deleted.")
    await page.get_by_role("button", name="Keyboard shortcuts").click()
    await expect(page.locator("#help")).to_be_visible()


# Keys


async def test_keys(bench: Bench, shown: Tab) -> None:
    await put(bench, "dead", failed("first"), failed("second"), at=time.time())
    await shown.open("/")
    press = shown.page.keyboard.press
    paths = {
        "b": "/busy",
        "q": "/queues",
        "r": "/retries",
        "s": "/scheduled",
        "p": "/periodic",
        "o": "/",
        "d": "/dead",
    }
    for key, path in paths.items():
        # The page forgets the first key after a while, which may be over on a busy machine.
        while shown.page.url != f"{shown.base}{path}":
            await press("g")
            await press(key)
            with contextlib.suppress(PlaywrightTimeoutError):
                await shown.page.wait_for_url(f"{shown.base}{path}", timeout=10_000)
    await shown.page.wait_for_load_state()
    await press("j")
    await press("j")
    kind = shown.page.locator("#kinds a.main")
    await expect(shown.row("second").locator("a.main")).to_be_focused()
    await press("k")
    await expect(kind).to_be_focused()
    await press("j")
    await press("x")
    await expect(shown.row("second").locator("input")).to_be_checked()
    await press("/")
    await expect(shown.page.locator("#text")).to_be_focused()
    await shown.page.keyboard.type("g d j x ?")
    await press("Escape")
    await press("?")
    await expect(shown.page.locator("#help")).to_be_visible()
    await press("?")
    await expect(shown.page.locator("#help")).to_be_hidden()
    await shown.row("first").locator("a.main").focus()
    await press("Enter")
    await expect(shown.page.locator("h1")).to_have_text("first")


async def test_the_skip_link(shown: Tab) -> None:
    await shown.open("/busy")
    await shown.page.keyboard.press("Tab")
    await expect(shown.page.locator(".skip")).to_be_focused()
    await shown.page.keyboard.press("Enter")
    await expect(shown.page.locator("main")).to_be_focused()


# Live


async def test_what_happens_is_seen(bench: Bench, shown: Tab) -> None:
    await shown.open("/dead")
    await expect(shown.page.locator("main")).to_contain_text("No dead jobs.")
    await put(bench, "dead", failed("pay"))
    await expect(shown.row("pay")).to_be_visible()
    await expect(shown.page.locator(".nav a", has_text="Dead")).to_contain_text("1")


async def test_nothing_moves_under_the_hand(bench: Bench, shown: Tab) -> None:
    await put(bench, "dead", failed("pay"), at=1_000)
    await shown.open("/dead")
    await shown.row("pay").locator("input").check()
    await put(bench, "dead", failed("mail"), at=2_000)
    await expect(shown.page.locator(".facts").first).to_have_text("2")
    await expect(shown.row("mail")).to_have_count(0)
    await shown.row("pay").locator("input").uncheck()
    await shown.leave()
    await expect(shown.row("mail")).to_be_visible()
    await shown.row("pay").locator(".id").dblclick()
    await shown.leave()
    await put(bench, "dead", failed("third"), at=3_000)
    await expect(shown.page.locator(".facts").first).to_have_text("3")
    await expect(shown.row("third")).to_have_count(0)
    await shown.page.evaluate("getSelection().removeAllRanges()")
    await expect(shown.row("third")).to_be_visible()


async def test_what_is_unfolded_stays_unfolded(bench: Bench, shown: Tab) -> None:
    beat = {"heartbeat_at": int(time.time()), "job_names": "pay,mail", "concurrency": 5, "host": "here", "pid": 7}
    await bench.redis.sadd(bench.keys.worker_pools, "pool")
    await bench.redis.hset(bench.keys.heartbeat("pool"), mapping=beat)
    await shown.open("/busy")
    await shown.page.locator("details summary").click()
    await shown.leave()
    await bench.redis.hset(bench.keys.heartbeat("pool"), "pid", 8)
    await expect(shown.row("here")).to_contain_text("process 8")
    await expect(shown.page.locator("details a").first).to_be_visible()
    await shown.open("/queues")
    await put(bench, "queue:pay", payload("pay"))
    await shown.row("pay").locator("summary").click()
    await shown.page.get_by_label("Maximum running").fill("12")
    await put(bench, "queue:pay", payload("pay"))
    await expect(shown.page.locator(".facts").first).to_contain_text("2 jobs waiting")
    await expect(shown.page.get_by_label("Maximum running")).to_have_value("12")
    await bench.redis.delete(bench.keys.worker_pools, bench.keys.heartbeat("pool"))


# A stream of live sections that the test feeds.
FED_BY_HAND = """
window.EventSource = class { addEventListener(kind, handler) { if (kind === "sections") window.feed = handler } };
"""


async def test_a_state_from_before_an_action_arrives_too_late_to_be_shown(
    bench: Bench, browser: Browser, server: Server
) -> None:
    await bench.redis.sadd(bench.keys.known_jobs, "wat")
    async with tab(browser, server.base) as shown:
        page, paused = shown.page, shown.page.locator(".tag", has_text="paused")
        await page.add_init_script(FED_BY_HAND)
        await shown.open("/queues")
        await page.wait_for_function("() => !!window.feed")
        before = await (await page.request.get(f"{server.base}/live/poll?path=/queues")).text()
        await page.get_by_role("button", name="Pause").click()
        await expect(paused).to_have_count(1)
        await page.get_by_role("button", name="Unpause").wait_for()
        after = await (await page.request.get(f"{server.base}/live/poll?path=/queues")).text()
        await page.locator("h1").hover()
        await page.evaluate("data => window.feed({ data })", before)
        await expect(paused).to_have_count(1)
        await bench.redis.delete(bench.keys.paused("wat"))
        latest = await (await page.request.get(f"{server.base}/live/poll?path=/queues")).text()
        for data, number in ((after, 1), (latest, 0)):
            await page.evaluate("data => window.feed({ data })", data)
            await expect(paused).to_have_count(number)
    await bench.redis.srem(bench.keys.known_jobs, "wat")


async def test_a_list_holds_still_under_the_pointer(bench: Bench, shown: Tab) -> None:
    await put(bench, "dead", failed("pay"), failed("mail"), at=1_000)
    await shown.open("/dead")
    updates, page = shown.page.locator("#updates"), shown.page
    await shown.row("pay").hover()
    await put(bench, "dead", *(failed(f"new{number}") for number in range(3)), at=2_000)
    await expect(updates).to_have_text("3 new")
    await expect(shown.row("new0")).to_have_count(0)
    await bench.redis.zremrangebyscore(bench.keys.dead, 1_000, 1_000)
    await expect(updates).to_have_text("3 new, 1 gone")
    await expect(shown.row("pay")).to_have_class("gone")
    await updates.click()
    await expect(page.locator("td.job")).to_have_count(4)
    await expect(updates).to_be_hidden()
    # The same for the keyboard's focus.
    await shown.leave()
    await page.keyboard.press("j")
    await page.keyboard.press("j")
    await expect(shown.row("new2").locator("a.main")).to_be_focused()
    await put(bench, "dead", failed("newer"), at=3_000)
    await expect(updates).to_have_text("1 new")
    await page.keyboard.press("n")
    await expect(shown.row("newer")).to_be_visible()
    await expect(shown.row("new2").locator("a.main")).to_be_focused()


async def test_what_came_is_counted_exactly_over_pages(bench: Bench, shown: Tab) -> None:
    await put(bench, "dead", *(failed(f"old{number}") for number in range(40)), at=1_000)
    await shown.open("/dead")
    updates = shown.page.locator("#updates")
    await shown.row("old39").hover()
    await put(bench, "dead", *(failed(f"new{number}") for number in range(2)), at=2_000)
    await expect(updates).to_have_text("2 new")
    # Of what has gone the next page makes up; those are not new.
    await bench.redis.zremrangebyscore(bench.keys.dead, 1_038, 1_039)
    await expect(updates).to_have_text("2 new, 2 gone")
    await put(bench, "dead", *(failed(f"more{number}") for number in range(30)), at=3_000)
    await expect(updates).to_contain_text("at least 25 new")


async def test_a_list_with_a_selection_shows_its_age(bench: Bench, shown: Tab) -> None:
    await put(bench, "dead", failed("pay"), at=1_000)
    await shown.open("/dead")
    await shown.row("pay").locator("input").check()
    await shown.leave()
    age = shown.page.locator(".age")
    await expect(age).to_have_text("list up to date")
    await put(bench, "dead", failed("mail"), at=2_000)
    await expect(shown.page.locator("#updates")).to_have_text("1 new")
    await expect(age).to_have_text(re.compile(r"^list [1-9]\d* s old$"))
    await expect(shown.row("mail")).to_have_count(0)
    await shown.row("pay").locator("input").uncheck()
    await shown.leave()
    await expect(shown.row("mail")).to_be_visible()
    await expect(age).to_be_empty()


async def test_no_click_hits_another_job(bench: Bench, shown: Tab) -> None:
    await put(bench, "dead", failed("first"), failed("second"), at=1_000)
    await shown.open("/dead")
    mouse, page = shown.page.mouse, shown.page
    box = await shown.row("second").get_by_role("button", name="Delete").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    # Between pressing and releasing the button nothing moves, even what is told to by the key that shows all.
    await mouse.move(x, y)
    await mouse.down()
    await put(bench, "dead", failed("third"), at=3_000)
    await asyncio.sleep(0.6)
    await expect(shown.row("third")).to_have_count(0)
    await mouse.up()
    await shown.toast("1 job deleted.")
    await expect(shown.row("second")).to_have_count(0)
    # A second click of the same hand comes too late: another row is there now.
    await page.evaluate("performance.now = () => 1e9")
    await shown.leave()
    await put(bench, "dead", failed("fourth"), at=4_000)
    await expect(shown.row("fourth")).to_be_visible()
    # Nor does what comes right behind it, and moves nothing here, make the click right.
    await put(bench, "dead", failed("zeroth"), at=500)
    await expect(shown.row("zeroth")).to_be_visible()
    await mouse.click(x, y)
    await shown.toast("The list has just moved. Click again.")
    assert await count(bench, "dead") == 4
    await page.evaluate("delete performance.now; performance.now = () => 2e9")
    await mouse.click(x, y)
    await until(holds(bench, "dead", 3))


async def test_a_double_click_deletes_one_job(bench: Bench, shown: Tab) -> None:
    await put(bench, "dead", *(failed(f"job{number}") for number in range(6)), at=1_000)
    await shown.open("/dead")
    await shown.row("job5").get_by_role("button", name="Delete").dblclick(delay=30)
    await shown.toast("1 job deleted.")
    await asyncio.sleep(0.5)
    assert await count(bench, "dead") == 5


async def test_a_key_held_down_acts_on_one_job(bench: Bench, shown: Tab) -> None:
    await put(bench, "dead", *(failed(f"job{number}") for number in range(6)), at=1_000)
    await shown.open("/dead")
    await shown.row("job5").get_by_role("button", name="Delete").focus()
    await shown.page.keyboard.down("Enter")
    await shown.toast("1 job deleted.")
    await asyncio.sleep(0.5)
    for _ in range(3):
        await shown.page.keyboard.down("Enter")
    await shown.page.keyboard.up("Enter")
    await expect(shown.row("job4").locator("a.main")).to_be_focused()
    assert await count(bench, "dead") == 5
    assert shown.page.url.endswith("/dead")


async def test_seven_tabs_are_live(bench: Bench, browser: Browser, server: Server) -> None:
    context = await browser.new_context()
    tabs = [Tab(await context.new_page(), server.base) for _ in range(7)]
    streaming: list[Tab] = []

    def note(sent: Request) -> None:
        if "/live?" in sent.url:
            streaming.extend(each for each in tabs if each.page == sent.frame.page)

    context.on("request", note)
    for each in tabs:
        await asyncio.wait_for(each.open("/dead"), LIMIT)
    await put(bench, "dead", failed("pay"), at=1_000)
    for each in tabs:
        await expect(each.row("pay")).to_be_visible()
    assert len(sse._streams) == 1
    # The tab that has the stream goes; another one takes it over, and nobody misses anything.
    (leader,) = streaming
    tabs.remove(leader)
    await leader.page.close()
    await until(lambda: len(streaming) == 2 and len(sse._streams) == 1)
    await put(bench, "dead", failed("mail"), at=2_000)
    for each in tabs:
        await expect(each.row("mail")).to_be_visible()
        each.check()
    await context.close()


async def test_without_locks_a_page_asks(bench: Bench, browser: Browser, server: Server) -> None:
    async with tab(browser, server.base) as shown:
        # As it is for every page over plain http from another machine.
        await shown.page.add_init_script("Object.defineProperty(navigator, 'locks', { value: undefined })")
        await shown.open("/dead")
        await put(bench, "dead", failed("pay"), at=1_000)
        await expect(shown.row("pay")).to_be_visible()
        assert not sse._streams


async def test_undo_from_every_page(bench: Bench, shown: Tab) -> None:
    await put(bench, "dead", failed("first"), failed("second"), at=1_000)
    await shown.open("/dead")
    for name in ("second", "first"):
        await shown.row(name).get_by_role("button", name="Delete").click()
        await expect(shown.row(name)).to_have_count(0)
        await shown.aim()
    # A page without actions of its own.
    await shown.open("/")
    await shown.page.keyboard.press("u")
    await expect(shown.page.locator(".flash")).to_have_text("1 job restored.")
    assert await count(bench, "dead") == 1
    await shown.page.get_by_role("link", name="Undo a deletion").click()
    row = shown.row("second")
    await expect(row).to_contain_text("in 9 min")
    await row.get_by_role("button", name="Undo").click()
    await shown.toast("1 job restored.")
    await expect(shown.page.locator("main")).to_contain_text("No deletions in the last ten minutes")
    assert await count(bench, "dead") == 2
    # With nothing of its own left, the key leads to what others deleted.
    await shown.open("/busy")
    await shown.page.evaluate("sessionStorage.clear()")
    await shown.page.keyboard.press("u")
    await shown.page.wait_for_url("**/deleted")


async def test_undo_without_scripts(bench: Bench, bare: Tab) -> None:
    await put(bench, "dead", failed("first"), failed("second"), at=1_000)
    await bare.open("/dead")
    await bare.row("first").get_by_role("button", name="Delete").click()
    await bare.open("/")
    await bare.page.get_by_role("link", name="Undo a deletion").click()
    await bare.row("first").get_by_role("button", name="Undo").click()
    await expect(bare.page.locator(".flash")).to_have_text("1 job restored.")
    assert await count(bench, "dead") == 2


async def test_live_updates_stay_paused(bench: Bench, shown: Tab) -> None:
    await shown.open("/dead")
    button = shown.page.locator("#live")
    await button.click()
    await expect(button).to_have_attribute("aria-pressed", "false")
    await shown.open("/dead")
    await expect(button).to_have_text("Paused")
    await put(bench, "dead", failed("pay"))
    await asyncio.sleep(0.5)
    await expect(shown.row("pay")).to_have_count(0)
    await shown.page.keyboard.press("l")
    await expect(shown.row("pay")).to_be_visible()
    await expect(button).to_have_text("Live")


async def test_an_open_job_is_removed(bench: Bench, shown: Tab) -> None:
    await put(bench, "dead", failed("pay", args={"a": 1}))
    await shown.open("/dead")
    await shown.page.get_by_role("link", name="pay").click()
    await shown.page.locator('.pairs a[href*="/job?"]').click()
    await expect(shown.page.locator("#status")).to_contain_text("died")
    await bench.redis.delete(bench.keys.dead)
    await expect(shown.page.locator("#status")).to_contain_text("This job is not here any more")
    await expect(shown.page.locator(".tree")).to_be_visible()
    await expect(shown.page.get_by_role("button", name="Retry")).to_have_count(0)


async def test_a_search_goes_on_by_itself(bench: Bench, shown: Tab, monkeypatch: pytest.MonkeyPatch) -> None:
    search = Client.search

    async def hasty(*given: Any, **options: Any) -> Any:
        return await search(*given, **{**options, "seconds": 0.0})

    monkeypatch.setattr(Client, "search", hasty)
    await put(bench, "dead", *(failed("needle" if number % 250 == 7 else "hay") for number in range(900)))
    await shown.open("/dead?name=needle")
    await expect(shown.page.locator("td.job")).to_have_count(4)
    await expect(shown.page.locator("a.more")).to_have_count(0)
    await shown.row("needle").first.get_by_role("button", name="Delete").click()
    await shown.toast("1 job deleted.")


# Trouble


async def test_redis_stops_and_starts(browser: Browser, tmp_path: Path) -> None:
    redis = EmbeddedRedis(tmp_path)
    redis.start()
    client = Redis.from_url(redis.url, protocol=2)
    try:
        with Server(redis.url, "work") as server:
            async with tab(browser, server.base) as shown, tab(browser, server.base) as late:
                late.allowed = "503"
                await shown.open("/retries")
                await expect(shown.page.locator("main")).to_contain_text("No jobs are waiting to be retried.")
                await asyncio.to_thread(redis.stop)
                banner = shown.page.locator("#banner")
                await expect(banner).to_contain_text("Redis is unavailable.")
                await late.open("/dead")
                await expect(late.page.locator("h1")).to_have_text("Redis is unavailable")
                await asyncio.to_thread(redis.start)
                await client.zadd("work:retry", {failed("pay"): time.time() + 60})
                await expect(banner).to_be_hidden()
                await expect(shown.row("pay")).to_be_visible()
                await expect(late.page.locator("h1")).to_have_text("Dead")
    finally:
        await client.aclose()
        await client.connection_pool.disconnect()
        await asyncio.to_thread(redis.stop)


async def test_the_web_server_stops_and_starts(bench: Bench, browser: Browser) -> None:
    port = free_port()
    with Server(bench.url, bench.namespace, port=port) as server:
        context = await browser.new_context()
        shown = Tab(await context.new_page(), server.base)
        shown.allowed = "ERR_|Failed to load"
        await shown.open("/retries")
        await expect(shown.page.locator("#live")).to_be_visible()
        await asyncio.sleep(0.3)
    await expect(shown.page.locator("#banner")).to_contain_text("The server of this page cannot be reached.")
    await shown.page.evaluate("window.here = 1")
    with Server(bench.url, bench.namespace, port=port):
        await put(bench, "retry", failed("pay"), at=time.time() + 60)
        await expect(shown.row("pay")).to_be_visible()
        await expect(shown.page.locator("#banner")).to_be_hidden()
        assert await shown.page.evaluate("window.here") == 1
        await context.close()
    shown.check()


# Hostile text


async def test_hostile_text_does_nothing(bench: Bench, shown: Tab) -> None:
    for number, text in enumerate(HOSTILE):
        await fill(bench, text, number)
    page = shown.page
    starts = [re.split("[\x00-\x1f\u200f\u202e\u2066\ud800-\udfff]", text)[0][:40] for text in HOSTILE]
    for path in ("/", "/busy", "/queues", "/retries", "/scheduled", "/quarantine", "/periodic", "/dead"):
        await shown.open(path)
        for start in starts:
            await expect(page.locator("main")).to_contain_text(start)
        assert await page.evaluate(AUDIT, False) == [], path
    shown.allowed = "404"
    for start in starts:
        await shown.open("/dead")
        await expect(shown.row(start).first).to_be_visible()
        await shown.click(shown.row(start).locator("a.main").first)
        await expect(page.locator("h1")).to_contain_text(start)
        await page.get_by_role("button", name="Delete").click()
        await shown.toast("1 job deleted.")
        await page.locator(".toast button").click()
        await shown.toast("1 job restored.")
    await bench.redis.delete(*[key async for key in bench.redis.scan_iter(f"{bench.namespace}:*")])


async def test_hostile_text_can_be_acted_on(bench: Bench, shown: Tab) -> None:
    page = shown.page
    for number, text in enumerate(HOSTILE[:-1]):
        await fill(bench, text, number)
    await shown.open("/queues")
    for number in range(1, len(HOSTILE)):
        await shown.click(page.get_by_role("button", name=re.compile("^Pause")).first)
        await expect(page.locator(".tag", has_text="paused")).to_have_count(number)
    for path, location in (("/quarantine", "quarantine"), ("/scheduled", "scheduled"), ("/retries", "retry")):
        await shown.open(path)
        await page.locator("[data-every]").check()
        await page.locator("#many").get_by_role("button", name="Delete").click()
        await until(holds(bench, location, 0))
    await bench.redis.delete(*[key async for key in bench.redis.scan_iter(f"{bench.namespace}:*")])
