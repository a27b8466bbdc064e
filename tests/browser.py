"""Browser settings, and a web UI server for browser tests."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from types import TracebackType
from typing import Any

import uvicorn

from asyncwork.web import create_app

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or "/usr/bin/chromium"
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Server:
    """Web UI of a namespace, served by uvicorn in a thread within the context."""

    def __init__(self, url: str, namespace: str, *, port: int = 0, **options: Any) -> None:
        self.port = port or free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        app = create_app(url, namespace=namespace, **options)
        # With another loop, old versions of uvicorn set that for the other tests too.
        config = uvicorn.Config(app, port=self.port, loop="asyncio", log_level="critical", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="web", daemon=True)

    def __enter__(self) -> Server:
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError("the web server did not start")
            time.sleep(0.01)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(10)
