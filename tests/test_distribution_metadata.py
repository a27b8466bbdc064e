"""The metadata of a distribution: addresses, and a README whose links work where it is shown by itself."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
REPOSITORY = "https://example.com/someone/asyncwork"

pytestmark = pytest.mark.processes


def metadata(**environment: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "metadata"],
        cwd=ROOT,
        env={**os.environ, "ASYNCWORK_REPOSITORY": "", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_links_of_the_readme_lead_to_files_of_the_release() -> None:
    found = metadata(ASYNCWORK_REPOSITORY=f"{REPOSITORY}/")
    tag = f"v{found['version']}"
    assert found["urls"]["Repository"] == REPOSITORY
    text = found["readme"]["text"]
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    assert all(re.match("https?://|#", each) for each in targets)
    own = [each.removeprefix(f"{REPOSITORY}/") for each in [*targets, *found["urls"].values()] if REPOSITORY in each]
    paths = [path for each in own if (path := re.sub(f"^(blob|raw)/{re.escape(tag)}/|#.*", "", each)) != each]
    assert len(paths) > 20
    assert [path for path in paths if not (ROOT / path).exists()] == []
    # An image must be the file itself, not a page about it.
    assert f"]({REPOSITORY}/raw/{tag}/docs/images/overview.png)" in text
    assert f"]({REPOSITORY}/blob/{tag}/docs/start.md)" in text


def test_without_an_address_nothing_is_made_up() -> None:
    found = metadata()
    assert "urls" not in found
    assert found["readme"]["text"] == (ROOT / "README.md").read_text(encoding="utf-8")


def test_a_release_needs_an_address() -> None:
    done = subprocess.run(
        ["make", "-s", "-o", ".venv/.ready", "dist", "URL="], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (
        2,
        "URL is missing: make dist URL=https://… with the address of the repository\n",
    )
