"""What a page in a browser is looked at for: accessibility, width, names that somebody else made up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chromium import require_modules

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["HOSTILE", "overflow", "violations"]

_WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
HOSTILE = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "javascript:alert(1)",
    "web\u202egpj.exe\u2066\x1b[31m",
    "long" * 2500,
    "{{constructor.constructor('alert(1)')()}}",
    "__proto__",
)


def violations(shown: Page) -> list[str]:
    """What axe finds wrong at WCAG 2.2 AA."""
    shown.evaluate((require_modules() / "axe-core" / "axe.min.js").read_text())
    found: list[dict[str, Any]] = shown.evaluate(
        "tags => axe.run({runOnly: tags, resultTypes: ['violations']}).then(found => found.violations)"
        ".then(all => all.map(one => ({id: one.id, where: one.nodes.map(node => node.html)})))",
        _WCAG,
    )
    return [f"{one['id']}: {[where[:200] for where in one['where'][:3]]}" for one in found]


def overflow(shown: Page) -> int:
    """By how many pixels the page is wider than the window."""
    found: int = shown.evaluate("document.documentElement.scrollWidth - innerWidth")
    return found
