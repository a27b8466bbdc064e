from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from asyncwork.testing import Jobs
from examples.shop import jobs as shop_jobs
from examples.shop.app import app, get_orders
from examples.shop.store import Orders, open_orders


class MailService:
    """Keeps the e-mails that it gets. It refuses them while it is down."""

    def __init__(self) -> None:
        self.sent: list[dict[str, str]] = []
        self.is_down = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.is_down:
            return httpx.Response(503)
        self.sent.append(json.loads(request.content))
        return httpx.Response(202)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def mail_service(monkeypatch: pytest.MonkeyPatch) -> MailService:
    """The mail service that the jobs use."""
    service = MailService()

    def mail_client() -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(service), base_url="http://mail")

    monkeypatch.setattr(shop_jobs, "mail_client", mail_client)
    return service


@pytest.fixture
async def orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Orders]:
    """The orders of a new shop."""
    monkeypatch.setenv("SHOP_DATA", str(tmp_path))
    async with open_orders() as orders:
        yield orders


@pytest.fixture
async def shared(orders: Orders, mail_service: MailService) -> AsyncIterator[shop_jobs.Shared]:
    """The resources that jobs take in ``jobs.eager()``, which starts no pool."""
    async with shop_jobs.mail_client() as mail:
        yield shop_jobs.Shared(orders, mail)


@pytest.fixture
async def client(orders: Orders, jobs: Jobs) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application. No pool runs, so what the application enqueues stays in the queue."""
    app.dependency_overrides[get_orders] = lambda: orders
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client:
        yield client
    app.dependency_overrides.clear()
