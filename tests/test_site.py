"""The site of the documentation: it can be built, its links lead somewhere, and it loads nothing from other hosts."""

from __future__ import annotations

import functools
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Request, async_playwright

from .architecture import ROOT
from .browser import CHROMIUM, SWITCHES

# Building takes some seconds, so the tests share one.
pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("site")]


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files, and logs nothing."""

    def log_message(self, *args: object) -> None: ...


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the site. Dead links and what the reference cannot show are errors (`strict`)."""
    directory = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "-q", "-f", str(ROOT / "mkdocs.yml"), "-d", str(directory)]
    built = subprocess.run(command, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return directory


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def pages(site: Path) -> list[str]:
    return sorted(str(path.relative_to(site).parent) for path in site.rglob("index.html"))


def test_each_document_is_a_page(site: Path) -> None:
    documents = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"}
    assert documents <= set(pages(site))


def test_the_reference_has_each_public_name(site: Path) -> None:
    import asyncwork

    text = "\n".join(path.read_text(encoding="utf-8") for path in (site / "reference").rglob("index.html"))
    assert not [name for name in asyncwork.__all__ if f'id="asyncwork.{name}"' not in text]
    # Roles are links.
    assert ":class:" not in text
    assert ":meth:" not in text


async def test_each_page_loads_without_errors_and_other_hosts(site: Path, address: str) -> None:
    if not Path(CHROMIUM).exists():
        reason = "there is no chromium on this machine (apt install chromium)"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    async with async_playwright() as playwright:
        browser: Browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        tab = await browser.new_page()
        elsewhere: list[str] = []
        errors: list[str] = []

        def on_request(request: Request) -> None:
            if not request.url.startswith((address, "data:", "blob:")):
                elsewhere.append(request.url)

        tab.on("request", on_request)
        tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        tab.on("pageerror", lambda error: errors.append(str(error)))
        for page in pages(site):
            response = await tab.goto(f"{address}/{page}/")
            assert response is not None
            assert response.ok, page
        await browser.close()
    assert not elsewhere
    assert not errors
