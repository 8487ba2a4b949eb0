"""What the site does to the Markdown files: they are written to be read on a code host, where nothing of this is.

- docs/index.md: its lists of links are the order of the pages.
- docs/api.md: its lists of names become what the docstrings say.
- docs/examples.md: the files that it links to are shown there, and links of other pages to them lead there.
- docs/serve-api.md: the OpenAPI document beside it.
- Mermaid: the drawings that tools/diagrams.py made.
"""

from __future__ import annotations

import ast
import html
import json
import os
import re
from pathlib import Path
from typing import Any

import diagrams

from dregutil import __version__
from dregutil.serve.openapi import description

ROOT = Path(__file__).parents[1]
INDEX, API, SERVE, EXAMPLES = "docs/index", "docs/api", "docs/serve-api", "docs/examples"
_NAMES = re.compile(r"^- (?:`\w+`,?\s+)*`\w+`\n", re.MULTILINE)
_LINK = re.compile(r"^- \[([^\]]+)\]\(([^)#]+\.md)\)", re.MULTILINE)
_RELATIVE = re.compile(r"\[([^\]]+)\]\((?![a-z]+:|#)([^)#\s]+)\)")  # a link without an anchor
_LISTED = re.compile(r"^- \[examples/\S+\]\(\.\./(\S+)\).*\n", re.MULTILINE)
_PARAMETERS = re.compile(r"\n<dl>\n((?:<dd>.*</dd>\n)+)</dl>\n\n")  # of a long signature
_LONG = 150  # lines
_LANGUAGES = {".yml": "yaml", ".yaml": "yaml", ".cfg": "ini", "Dockerfile": "dockerfile"}


def connect(app: Any) -> None:
    """Of a Sphinx application."""
    app.connect("source-read", _read)
    app.connect("autodoc-process-docstring", _docstring)
    app.connect("autodoc-process-signature", _signature)
    app.connect("html-page-context", _for_everybody, priority=900)  # after Furo's
    app.connect("build-finished", _finish)


def _read(_app: object, page: str, source: list[str]) -> None:
    text = diagrams.BLOCK.sub(lambda found: drawing(found[1]), source[0])
    if page == INDEX:
        text = with_order(text)
    elif page == SERVE:
        text = text.replace("`/api/v1/openapi.json`", '<a href="openapi.json"><code>/api/v1/openapi.json</code></a>')
    elif page == API:
        text = _NAMES.sub(lambda found: documented(found[0]), text)
    if page == EXAMPLES:
        text = _LISTED.sub(
            lambda found: shown(found[1]) if (ROOT / found[1]).is_dir() else found[0] + shown(found[1]), text
        )
    else:
        text = with_examples(page, text)
    source[0] = text


def with_order(text: str) -> str:
    """The index with a hidden `toctree` for each section: the links in it."""
    parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
    shown = parts[0]
    for title, section in zip(parts[1::2], parts[2::2], strict=True):
        entries = "\n".join(f"{name} <{target.removesuffix('.md')}>" for name, target in _LINK.findall(section))
        shown += f"## {title}\n{section.rstrip()}\n\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n{entries}\n```\n\n"
    return shown


def drawing(text: str) -> str:
    """The drawing of a Mermaid block, and its text. Raises FileNotFoundError if it was not drawn."""
    file = diagrams.FOLDER / f"{diagrams.name_of(text)}.svg"
    if not file.exists():
        raise FileNotFoundError(f"{file}: run tools/diagrams.py")
    svg = (
        file.read_text()
        .strip()
        .replace('role="graphics-document document"', 'role="img" aria-label="Diagram; its text follows"')
    )
    source = f"<details><summary>The diagram as text</summary><pre tabindex=0>{html.escape(text)}</pre></details>"
    return f"```{{raw}} html\n<figure class=diagram>{svg}\n{source}</figure>\n```\n"


def documented(names: str) -> str:
    """The directives for a list of public names."""
    import dregutil

    found = []
    for name in re.findall(r"`(\w+)`", names):
        kind = getattr(dregutil, name)
        if not isinstance(kind, type):
            found.append(f".. autofunction:: dregutil.{name}")
        elif name == "AsyncSession":  # its methods are those of Session
            found.append(f".. autoclass:: dregutil.{name}")
        else:
            inherited = "\n   :inherited-members:" if name == "Session" else ""
            found.append(f".. autoclass:: dregutil.{name}\n   :members:\n   :undoc-members:{inherited}")
    return "```{eval-rst}\n" + "\n\n".join(found) + "\n```\n"


def shown(target: str) -> str:
    """A file, or all files of a folder: as blocks, long ones as downloads."""
    path = ROOT / target
    files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
    text, folders = "", set[Path]()
    for file in files:
        new = {folder for folder in file.parents if path in (folder, *folder.parents)} - folders
        text += "".join(f"\n({anchor(folder.relative_to(ROOT).as_posix())})=\n" for folder in sorted(new))
        folders |= new
        name = file.relative_to(ROOT).as_posix()
        content = file.read_text()
        kind = _LANGUAGES.get(file.suffix or file.name, "sh" if content.startswith("#!") else "text")
        text += f"\n({anchor(name)})=\n"
        if content.count("\n") > _LONG:
            text += f"{{download}}`{name} </{name}>`\n"
        else:
            text += f"```{{literalinclude}} /{name}\n:language: {kind}\n:caption: {name}\n```\n"
    return text


def anchor(target: str) -> str:
    """Where a file or folder of examples/ is shown."""
    return re.sub(r"\W+", "-", target).lower()


def with_examples(page: str, text: str) -> str:
    """A page whose links to what is no page lead to the examples, or nowhere."""

    def linked(found: re.Match[str]) -> str:
        path = Path(os.path.normpath(ROOT / Path(page).parent / found[2]))
        name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else ""
        if name == "examples":
            return f"[{found[1]}]({'../' * page.count('/')}{EXAMPLES}.md)"
        if name.partition("/")[0] == "examples":
            return f"[{found[1]}]({'../' * page.count('/')}{EXAMPLES}.md#{anchor(name)})"
        return found[1] if path.is_dir() else found[0]

    return _RELATIVE.sub(linked, text)


def _docstring(_app: object, _what: str, _name: str, _object: object, _options: object, lines: list[str]) -> None:
    lines[:] = as_rst("\n".join(lines)).splitlines()


def as_rst(text: str) -> str:
    """A docstring, which is plain text with names in backticks and examples of code, as reStructuredText."""
    return "\n\n".join(_example(part) or _prose(part) for part in re.split(r"\n\n+(?! )", text.strip()))


def _example(part: str) -> str:
    """The paragraph as a block of code; empty if it is prose."""
    try:
        found = ast.parse(part)
    except SyntaxError:
        return ""
    if "\n" not in part or not found.body:
        return ""
    return ".. code-block:: python\n\n" + "\n".join(f"    {line}" for line in part.splitlines()) + "\n"


def _prose(part: str) -> str:
    pieces = part.split("`")
    for place, piece in enumerate(pieces):
        if place % 2 == 0:
            pieces[place] = re.sub(r"([\\*|@]|_(?!\w))", r"\\\1", piece)
        elif piece.replace(".", "").isidentifier():
            pieces[place] = f":py:obj:`{piece}`"
        else:
            pieces[place] = f"``{piece}``"
    return "".join(pieces)


def _signature(
    _app: object, _what: str, _name: str, _object: object, _options: object, arguments: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    return readable(arguments) if arguments else arguments, returns


def readable(arguments: str) -> str:
    """The arguments of a signature as Python: a default that has no literal is `...`, a name has no module."""
    text = re.sub(r"<(\w+\.\w+): [^<>]*>", r"\1", arguments)
    return re.sub(r"~(?:\w+\.)*", "", re.sub(r"<[^<>]*>", "...", text))


def _for_everybody(_app: object, _page: str, _template: str, context: dict[str, Any], _tree: object) -> None:
    """What Sphinx and Furo write, made usable with a keyboard and a screen reader."""
    for name in {"body", "furo_navigation_tree"} & context.keys():
        context[name] = usable(str(context[name] or ""))


def usable(text: str) -> str:
    """HTML with a level of each heading, focus for what scrolls, and no list that lacks its terms."""
    text = _PARAMETERS.sub(lambda found: f'<span class="sig-lines">{found[1].replace("dd>", "span>")}</span>', text)
    text = text.replace(' role="heading"', ' role="heading" aria-level="2"')
    return text.replace("<pre>", '<pre tabindex="0">').replace(
        '<div class="table-wrapper', '<div tabindex="0" class="table-wrapper'
    )


def _finish(app: Any, error: Exception | None) -> None:
    """The start page, whose file is in a folder, is also found at the root; and the description of the API of serve."""
    if error is not None:
        return
    page = f"{INDEX}.html"
    Path(app.outdir, "index.html").write_text(
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>dregutil</title>'
        f'<meta http-equiv="refresh" content="0; url={page}"><p><a href="{page}">dregutil</a></p></html>\n'
    )
    document = description(f"dregutil {__version__}")
    Path(app.outdir, "docs", "openapi.json").write_text(json.dumps(document, indent=2) + "\n")
