"""The web UI: an ASGI application that shows what lies in Redis, and steers it. It needs the extra ``web``."""

from __future__ import annotations

from .app import create_app

__all__ = ["create_app"]
