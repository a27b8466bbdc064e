"""Links between pages: below the root that the site is mounted at, and with every filter in them."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from starlette.requests import Request

from .formatting import encoded


class Links:
    """Makes the links of one page.

    :param query: the page's own parameters, each once.
    """

    def __init__(self, request: Request, path: str, query: Mapping[str, str]) -> None:
        self._root = quote(request.scope.get("root_path", "").rstrip("/"))
        self._path = path
        self._query = query

    def to(self, path: str, **params: object) -> str:
        """Return the link to a path below the root; parameters that are ``None`` are left out."""
        pairs = "&".join(f"{name}={encoded(str(value))}" for name, value in params.items() if value is not None)
        return f"{self._root}{path}{'?' if pairs else ''}{pairs}"

    def here(self, **changes: object) -> str:
        """Return the link to this page with some of its parameters changed, or left out where they are ``None``."""
        return self.to(self._path, **{**self._query, **changes})

    @property
    def path(self) -> str:
        """Which page this is, such as ``/dead``."""
        return self._path
