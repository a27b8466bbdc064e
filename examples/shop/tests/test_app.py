"""The answers of the endpoints, and the jobs that they enqueue."""

from __future__ import annotations

from pathlib import Path

import httpx

from asyncwork.testing import Jobs
from examples.shop.jobs import send_email, thumbnail

from .conftest import MailService

ORDER = {"address": "ada@example.com", "product": "lamp"}


async def test_an_order_enqueues_its_email(client: httpx.AsyncClient, jobs: Jobs) -> None:
    response = await client.post("/orders", json=ORDER)
    assert response.status_code == 201
    jobs.assert_enqueued(send_email, order_id=response.json()["id"])


async def test_an_invalid_order_enqueues_nothing(client: httpx.AsyncClient, jobs: Jobs) -> None:
    response = await client.post("/orders", json={"product": "lamp"})
    assert response.status_code == 422
    jobs.assert_not_enqueued(send_email)


async def test_an_order_shows_whether_its_email_is_sent(
    client: httpx.AsyncClient, jobs: Jobs, mail_service: MailService
) -> None:
    order = (await client.post("/orders", json=ORDER)).json()
    assert order == {"id": 1, **ORDER, "emailed": False}
    await jobs.drain()
    assert (await client.get("/orders/1")).json() == {"id": 1, **ORDER, "emailed": True}
    assert mail_service.sent == [{"to": "ada@example.com", "text": "We have received your order: lamp."}]


async def test_an_order_that_does_not_exist(client: httpx.AsyncClient) -> None:
    assert (await client.get("/orders/7")).status_code == 404


async def test_a_picture_enqueues_its_thumbnail(client: httpx.AsyncClient, jobs: Jobs, tmp_path: Path) -> None:
    response = await client.post("/pictures", files={"file": b"a picture"})
    assert response.status_code == 202
    path = tmp_path / response.json()["picture"]
    assert path.read_bytes() == b"a picture"
    assert jobs.assert_enqueued(thumbnail, path=path).id == response.json()["job"]
