"""Show files of the repository that documents link to, such as `../examples/app.py`, on a page of the site."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"\]\(\.\./(examples/[\w/.]+)\)")


def on_page_markdown(markdown: str, /, *, page: Any, config: Any, files: Any) -> str:
    """Return the text of a page whose links to examples lead to the page with their code."""
    if page.file.src_path == "examples.md":
        return markdown + "\n".join(_section(path) for path in _examples())
    return _LINK.sub(lambda match: f"](examples.md#{_anchor(match[1])})", markdown)


def _examples() -> list[str]:
    found = [*_ROOT.glob("examples/*.*"), *_ROOT.glob("examples/shop/*.py")]
    paths = (path.relative_to(_ROOT).as_posix() for path in found)
    return sorted(path for path in paths if not path.endswith("__init__.py"))


def _section(path: str) -> str:
    text = (_ROOT / path).read_text(encoding="utf-8")
    language = {".py": "python", ".rb": "ruby", ".sh": "sh"}.get(Path(path).suffix, "text")
    return f"\n## {path} {{ #{_anchor(path)} }}\n\n````{language}\n{text}````\n"


def _anchor(path: str) -> str:
    return re.sub(r"\W+", "-", path)
