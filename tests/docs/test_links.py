"""Every relative link in the documents has an existing target file and heading."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from documents import ROOT

DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
_FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`[^`]*`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def links(text: str) -> list[str]:
    """The targets of all links without a scheme, not counting code."""
    found = _LINK.findall(_CODE.sub("code", _FENCED.sub("", text)))
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors(text: str) -> set[str]:
    """The anchors of all headings, as GitHub generates them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.*?) *$", _FENCED.sub("", text), re.MULTILINE):
        anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        same = (f"{anchor}-{number}" if number else anchor for number in range(len(found) + 1))
        found.add(next(name for name in same if name not in found))
    return found


def broken(path: Path) -> list[str]:
    """The broken links in a document."""
    found = []
    for link in links(path.read_text()):
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            found.append(link)
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_has_a_target(path: Path) -> None:
    assert broken(path) == []


def test_the_index_has_a_link_to_every_document() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / link).resolve() for link in links(index.read_text())}
    assert {path for path in DOCUMENTS if path != index} - linked == set()


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# One `two`, three\n```\n# no heading\n```\n# Twice\n# Twice\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](there.md) [b\nc](there.md#one-two-three) [d](there.md#twice-1) [e](https://example.com/x) `[f](code.md)`\n"
        "[g](gone.md) [h](there.md#no-heading) [i](there.md#twice-2) [j](#gone)\n# Here\n[k](#here)\n"
    )
    assert broken(page) == ["gone.md", "there.md#no-heading", "there.md#twice-2", "#gone"]
