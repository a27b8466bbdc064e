"""The Go program, and a namespace for programs of both languages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ..conftest import Bench
from .golang import Mixed, build


@pytest.fixture(scope="session")
def gowork(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Go program, built."""
    return build(tmp_path_factory)


@pytest.fixture
async def mixed(bench: Bench, gowork: Path) -> AsyncIterator[Mixed]:
    """A fresh namespace, in which Go pools leave nothing but shares of 0; swept and audited at the end."""
    mixed = Mixed(bench, gowork)
    yield mixed
    await mixed.settled()
