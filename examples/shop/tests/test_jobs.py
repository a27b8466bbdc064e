"""The effects of the jobs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image

from asyncwork.testing import Jobs
from examples.shop.jobs import Shared, ask_for_review, send_email, send_missing_emails, thumbnail
from examples.shop.store import Orders

from .conftest import MailService


async def test_a_thumbnail_is_small(jobs: Jobs, shared: Shared, tmp_path: Path) -> None:
    path = tmp_path / "large"
    Image.new("RGB", (1000, 500)).save(path, "png")
    with jobs.eager(resources=shared):
        await thumbnail.enqueue(path)  # returns when the handler has
    with Image.open(tmp_path / "large.jpg") as small:
        assert small.size == (200, 100)


async def test_a_file_that_is_no_picture_is_dropped(jobs: Jobs, shared: Shared, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("not a picture")
    with jobs.eager(resources=shared) as ran:
        await thumbnail.enqueue(path)
    assert [run.outcome for run in ran] == ["dropped"]


async def test_an_email_is_sent_once(jobs: Jobs, shared: Shared, mail_service: MailService) -> None:
    order = await shared.orders.add("ada@example.com", "lamp")
    with jobs.eager(resources=shared):
        await send_email.enqueue(order.id)
        await send_email.enqueue(order.id)
    assert len(mail_service.sent) == 1


async def test_a_review_is_asked_for_after_two_weeks(jobs: Jobs, orders: Orders, mail_service: MailService) -> None:
    order = await orders.add("ada@example.com", "lamp")
    await send_email.enqueue(order.id)
    await jobs.drain()
    review = jobs.assert_enqueued(ask_for_review, order_id=order.id)
    jobs.clock.move(days=14)
    assert review.id in [run.id for run in await jobs.drain()]  # beside the jobs of fourteen nights
    assert [mail["text"] for mail in mail_service.sent[1:]] == ["How do you like your lamp?"]


async def test_an_email_is_tried_five_times(
    jobs: Jobs, orders: Orders, mail_service: MailService, caplog: pytest.LogCaptureFixture
) -> None:
    mail_service.is_down = True
    order = await orders.add("ada@example.com", "lamp")
    job = await send_email.enqueue(order.id)
    for _ in range(5):
        await jobs.drain()
        jobs.clock.move(hours=1)
    assert [run.outcome for run in jobs.ran if run.id == job.id] == ["retry"] * 4 + ["dead"]
    assert "gave up after 5 attempts" in caplog.text


async def test_missing_emails_are_sent_at_night(jobs: Jobs, orders: Orders, mail_service: MailService) -> None:
    await orders.add("ada@example.com", "lamp")
    jobs.clock.move_to(datetime.now(UTC) + timedelta(days=1))
    jobs.assert_enqueued(send_missing_emails)
    await jobs.drain()
    assert [mail["to"] for mail in mail_service.sent] == ["ada@example.com"]
    assert await orders.not_emailed() == []
