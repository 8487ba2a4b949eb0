"""The script and the style that make a page interactive, as they were built. They are in this package, if at all."""

from __future__ import annotations

from importlib.resources import files

__all__ = ["bundle"]


def bundle() -> tuple[str, str]:
    """The script and the style; both empty if they were not built."""
    folder = files("dregutil.pages") / "bundle"
    found = (folder / name for name in ("report.js", "report.css"))
    script, style = (one.read_text(encoding="utf-8") if one.is_file() else "" for one in found)
    return script.replace("</script", "<\\/script"), style  # the same text within a string of the script
