"""Static files under names with a content hash, so that browsers may cache them forever."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

_DIRECTORY = Path(__file__).parent / "static"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml; charset=utf-8",
}
# Patterns that minify a style sheet or a script, with their replacements.
_CSS = ((r"/\*.*?\*/", ""), (r"\s+", " "), (r" ?([{};,]) ?", r"\1"), (r": ", ":"), (r";}", "}"))
_JS = ((r"(?m)^ *//[^\n]*\n", ""), (r"(?m)^ +", ""))


def _minified(path: Path) -> bytes:
    """Return a file without comments and indentation."""
    text = path.read_text("utf-8")
    for pattern, short in {".css": _CSS, ".js": _JS}.get(path.suffix, ()):
        text = re.sub(pattern, short, text, flags=re.DOTALL)
    return text.strip().encode()


_FILES = {path.name: _minified(path) for path in sorted(_DIRECTORY.iterdir()) if path.suffix in _TYPES}
# Pages with actions load both scripts as one module; the others load app.js only.
_FILES["actions.js"] = _FILES["app.js"] + b"\n" + _FILES["actions.js"]


def _hashed(name: str) -> str:
    stem, _, suffix = name.rpartition(".")
    return f"{stem}.{hashlib.sha256(_FILES[name]).hexdigest()[:12]}.{suffix}"


_NAMES = {name: _hashed(name) for name in _FILES}
_BY_HASHED_NAME = {hashed: name for name, hashed in _NAMES.items()}


def path_of(name: str) -> str:
    """Return the path of a static file below the root, such as ``/static/app.0a1b2c3d4e5f.css``.

    :raises KeyError: when the file does not exist.
    """
    return f"/static/{_NAMES[name]}"


async def static(request: Request) -> Response:
    """Return a static file."""
    name = _BY_HASHED_NAME.get(request.path_params["name"])
    if name is None:
        return PlainTextResponse("File not found.", 404)
    headers = {"cache-control": "public, max-age=31536000, immutable"}
    return Response(_FILES[name], headers=headers, media_type=_TYPES[name[name.rindex(".") :]])


routes: list[Route] = [Route("/static/{name}", static)]
