"""Web UI: an ASGI application that shows and manages the jobs of a namespace. It needs the extra ``web``."""

from __future__ import annotations

from .app import create_app
from .auth import Authorize

__all__ = ["Authorize", "create_app"]
