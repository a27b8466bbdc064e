"""Links between pages, below the root path of the application and with the filters of the current page."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from starlette.requests import Request
from starlette.types import Scope

from .._jobs.ids import GIVEN_IDS, may_be_given
from ..errors import UsageError
from .formatting import quoted, url_encode


def path_below_root(scope: Scope) -> str:
    """Return a request's path below the root path of the application."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path.removeprefix(root) if path.startswith(f"{root}/") else path


def has_page(job_id: str) -> bool:
    """Return whether a job's page can be addressed by its id. A job of another program may have any id."""
    return may_be_given(job_id)


def check_has_page(job_id: str) -> None:
    """Check that a job can be addressed by its id.

    :raises UsageError: when it cannot.
    """
    if not has_page(job_id):
        raise UsageError(f"the id of a job is {GIVEN_IDS}, not {quoted(job_id)}")


def job_path(job_id: str) -> str:
    """Return the path of a job's page below the root of the application."""
    return f"/jobs/{quote(job_id, errors='surrogateescape')}"


class Links:
    """Builds the links of one page.

    :param path: the page's path below the root, such as ``/dead``.
    :param query: the page's own parameters, each once.
    """

    def __init__(self, request: Request, path: str, query: Mapping[str, str]) -> None:
        self._root = quote(request.scope.get("root_path", "").rstrip("/"))
        self._path = path
        self._query = query

    def to(self, path: str, **params: object) -> str:
        """Return the link to a path below the root; parameters that are ``None`` are left out."""
        pairs = "&".join(f"{name}={url_encode(str(value))}" for name, value in params.items() if value is not None)
        return f"{self._root}{path}{'?' if pairs else ''}{pairs}"

    def here(self, **changes: object) -> str:
        """Return the link to this page with some parameters changed, or left out where they are ``None``."""
        return self.to(self._path, **{**self._query, **changes})

    @property
    def path(self) -> str:
        """The page's path below the root."""
        return self._path
