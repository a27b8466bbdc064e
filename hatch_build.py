"""Makes the links of the README absolute in the metadata of a distribution, and adds the project's addresses.

The package index shows the README by itself, where links to files of the repository lead nowhere. The address of the
repository comes from the environment, because only the one who releases knows it: ``make dist URL=…``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

VARIABLE = "ASYNCWORK_REPOSITORY"
# A link or an image whose target is a file of the repository, not an address or a part of the README.
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?![a-z]+:|#)([^)\s]+)\)")


class CustomMetadataHook(MetadataHookInterface):
    """Sets ``readme`` and ``urls``, which pyproject.toml lists as dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set them in the metadata of the project."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        if repository := os.environ.get(VARIABLE, "").rstrip("/"):
            tag = f"v{metadata['version']}"
            text = absolute(text, repository, tag)
            metadata["urls"] = {
                "Repository": repository,
                "Documentation": f"{repository}/blob/{tag}/docs/index.md",
                "Changelog": f"{repository}/blob/{tag}/CHANGELOG.md",
            }
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def absolute(text: str, repository: str, tag: str) -> str:
    """Return a text of Markdown whose links to files lead to a tag of the repository."""

    def replace(link: re.Match[str]) -> str:
        image, label, target = link.groups()
        return f"{image}[{label}]({repository}/{'raw' if image else 'blob'}/{tag}/{target})"

    return _LINK.sub(replace, text)
