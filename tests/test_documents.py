"""The documents: links lead somewhere, and every model that ships has a card."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path
    for folder in (".", "docs", "models", "examples", "defectaug", "tests")
    for path in (ROOT.glob("*.md") if folder == "." else (ROOT / folder).rglob("*.md"))
)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(document: Path) -> set[str]:
    """The names of its headings, as web pages make them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.casefold()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for link in LINK.findall(document.read_text(encoding="utf-8")):
        if link.startswith(("http://", "https://")):
            continue
        place, _, heading = link.partition("#")
        target = document.parent / place if place else document
        assert target.exists(), link
        assert not heading or heading in anchors(target), link


def test_each_model_that_ships_has_a_card() -> None:
    folders = [path.parent for path in (ROOT / "models").rglob("config.yaml")]
    for folder in folders:
        card = (folder / "README.md").read_text(encoding="utf-8")
        assert all(f"| {row} |" in card for row in ("recipe", "data", "trained by", "licence"))
        assert "## Measures" in card and "## Limits" in card
    assert len(folders) >= 2
