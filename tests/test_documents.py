"""The Python code in the documents: mypy finds no error in it, so it parses, and the API that it names exists."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

from .architecture import ROOT

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "examples/shop/README.md"]
DOCUMENTS += sorted((ROOT / "docs").glob("*.md"))
_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)

COMMON = """
from __future__ import annotations

import dataclasses, tempfile, time, unittest
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from aiohttp.web import Application
from fastapi import FastAPI

import asyncwork.web.aiohttp
from asyncwork import *
from asyncwork.embedded import EmbeddedRedis
from asyncwork.testing import Jobs, open_jobs

DSN: str
"""

# Libraries whose own types do not matter here, and take mypy long.
UNTYPED = ["asyncpg", "fastapi", "fastapi.testclient", "httpx", "pytest"]

# What the reader of a document imagines, beside what asyncwork and other libraries have.
IMAGINED = {
    "README.md": """
client: Client
report: Any
""",
    "docs/chunks.md": """
async def bulk_insert(documents: list[Any]) -> dict[int, str]: ...
""",
    "docs/enqueue.md": """
pool = WorkerPool()
addresses: list[str]
""",
    "docs/batches.md": """
from collections.abc import Iterable
from asyncwork.sync import Enqueuer as SyncEnqueuer
pool = WorkerPool()
client: Client
enqueuer: SyncEnqueuer
paths: list[str]
batch_id: str
async def links_of(url: str) -> list[str]: ...
""",
    "docs/fair-queues.md": """
pool = WorkerPool()
async def bulk_insert(customer: int, documents: list[Any]) -> None: ...
""",
    "docs/frameworks.md": """
import asyncwork.sync
pool = WorkerPool()
app = FastAPI()
transaction: Any
@pool.job
async def send_email(address: str) -> None: ...
""",
    "docs/from-arq.md": "",
    "docs/from-celery.md": """
def load(invoice: int) -> Any: ...
def render(invoice: Any) -> str: ...
smtp: Any
transaction: Any
""",
    "docs/from-rq.md": """
Image: Any
""",
    "docs/from-saq.md": """
async def write(row: int) -> None: ...
""",
    "docs/from-taskiq.md": "",
    "docs/steps.md": """
class Receipt:
    number: int
async def ship(parcel: str, receipt: int) -> None: ...
async def write(text: str) -> None: ...
database: Any
job: Job
""",
    "docs/terminal.md": "",
    "docs/gocraft.md": """
class Context: ...
pool = WorkerPool(context=Context)
async def send(address: str, n: int) -> None: ...
""",
    "docs/handlers.md": """
pool = WorkerPool()
product: UUID
failures: Any
pager: Any

@dataclass
class Shared:
    db: asyncpg.Pool
    http: httpx.AsyncClient
    enqueuer: Enqueuer

@dataclass
class Context:
    db: asyncpg.Pool
    http: httpx.AsyncClient
    started: float
""",
    "docs/limits.md": "async def ask_the_service(question: str) -> str: ...",
    "docs/jobs.md": """
pool = WorkerPool()
deadline: datetime
client: Client
job: EnqueuedJob
jobs: list[EnqueuedJob[Size]]
async def generate(question: str): yield question
async def download(url: str) -> None: ...
def render(page: str) -> None: ...

@dataclass
class Size:
    width: int
""",
    "docs/monitoring.md": """
pool = WorkerPool()
my_app: Any
""",
    "docs/tracing.md": "",
    "docs/testing.md": """
pool = WorkerPool()
FakeDatabase: Any
def make_pool() -> WorkerPool[Any]: ...
@pool.job
async def send_invoice(invoice: int) -> None: ...
@pool.job
async def remind(customer: int) -> None: ...
""",
    "docs/web.md": """
app: Any
async def current_user(request: object) -> Any: ...
""",
}

# The types of parameters that have no annotation in the documents.
PARAMETERS = {"jobs": "Jobs", "record": "JobRecord"}

WRONG = """
```python
pool = WorkerPool()
pool.jobb("x")
```

```python
async def test(jobs):
    Enqeuer()
    await jobs.drain(rise_first=True)
    await WorkerPool().enqueuer.enqueue("a", at="soon")
```
"""


def program(text: str, imagined: str) -> str:
    """Return the code of a document as a program, in which each block is a function within that of the block before."""
    code = f"{COMMON}\n{imagined}\n"
    for depth, block in enumerate(_BLOCK.findall(text)):
        code += textwrap.indent(f"async def block_{depth}() -> None:\n", "    " * depth)
        code += textwrap.indent(re.sub(r"(?<=def )\w+\(.*\)", _annotated, block) + "\n", "    " * (depth + 1))
    return code


def _annotated(signature: re.Match[str]) -> str:
    return re.sub(r"\b(\w+)(?=[,)])", lambda name: _typed(name[1]), signature[0])


def _typed(parameter: str) -> str:
    return f"{parameter}: {PARAMETERS[parameter]}" if parameter in PARAMETERS else parameter


def errors(programs: dict[str, str], directory: Path) -> list[str]:
    """Return the lines in which mypy finds errors."""
    for name, code in programs.items():
        (directory / f"{name}.py").write_text(code, encoding="utf-8")
    # The README's application is the module that other documents import.
    app = (
        _BLOCK.findall(DOCUMENTS[0].read_text(encoding="utf-8"))[0] + "\nfrom fastapi import FastAPI\napp = FastAPI()\n"
    )
    (directory / "app.py").write_text(app, encoding="utf-8")
    for library in UNTYPED:
        stub = directory / library.replace(".", "/") / "__init__.pyi"
        stub.parent.mkdir()
        stub.write_text("from typing import Any\ndef __getattr__(name: str) -> Any: ...\n")
    options = ["--config-file", "", "--no-incremental", "--check-untyped-defs", "--disable-error-code", "no-redef"]
    options += ["--disable-error-code", "empty-body"]
    command = [sys.executable, "-m", "mypy", *options, *(f"{name}.py" for name in programs)]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if ": error:" in line]


def test_the_code_names_what_exists(tmp_path: Path) -> None:
    texts = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in DOCUMENTS}
    code = {name: program(text, IMAGINED.get(name, "")) for name, text in texts.items() if "```python" in text}
    assert set(IMAGINED) == set(code)
    programs = {re.sub(r"\W", "_", name): each for name, each in code.items()}
    found = errors({**programs, "wrong": program(WRONG, "")}, tmp_path)
    # Errors are found where there are some.
    wrong = [re.findall(r'"(\w+)"', line)[0] for line in found if line.startswith("wrong.py")]
    assert sorted(wrong) == ["Enqeuer", "at", "jobb", "rise_first"]
    assert not [line for line in found if not line.startswith("wrong.py")]
