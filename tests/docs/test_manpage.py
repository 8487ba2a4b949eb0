"""The man page is generated from the parser, is complete, and can be read."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import reference
from manpage import EXIT_CODES, PAGE, manpage

from documents import ROOT
from dregutil import errors
from dregutil.cli.options.common import GLOBAL_GROUPS
from dregutil.cli.parser import COMMANDS, build_parser
from dregutil.serve.openapi import description

HELP = ("-h", "--help")  # among the global options
MACROS = {".TH", ".SH", ".SS", ".PP", ".TP", ".B", ".nf", ".fi", ".nh", ".ad", '.\\"'}


def test_the_page_is_generated_from_the_parser() -> None:
    assert PAGE.read_text() == manpage(), "run tools/manpage.py"


def test_the_reference_is_generated_from_the_parser_and_from_the_routes_of_serve() -> None:
    for page, text in reference.pages(EXIT_CODES).items():
        assert page.read_text() == text, f"run tools/manpage.py for {page}"


def test_every_command_and_option_is_in_the_reference() -> None:
    text = (ROOT / "docs" / "commands.md").read_text()
    assert re.findall(r"^### (\S+)$", text, re.MULTILINE) == [*COMMANDS]
    for name, parser in build_parser().command_parsers().items():
        section = text.partition(f"\n### {name}\n")[2].partition("\n## ")[0].partition("\n### ")[0]
        for title, _, actions in parser.groups():
            wanted = (
                [option for action in actions for option in action.option_strings] if title not in GLOBAL_GROUPS else []
            )
            assert [option for option in wanted if option not in section and option not in HELP] == [], name


def test_every_route_and_type_of_serve_is_in_the_reference() -> None:
    text = (ROOT / "docs" / "serve-api.md").read_text()
    document = description("dregutil")
    for path, operations in document["paths"].items():
        assert [method for method in operations if f"\n### {method.upper()} {path}\n" not in text] == [], path
    for name, schema in document["components"]["schemas"].items():
        section = text.partition(f"\n### {name}\n")[2].partition("\n### ")[0]
        assert re.findall(r"^- `(\w+)`", section, re.MULTILINE) == [*schema["properties"]], name


def test_the_wheel_installs_it() -> None:
    hatch = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    assert hatch["wheel"]["shared-data"] == {"man/dregutil.1": "share/man/man1/dregutil.1"}
    assert "include" not in hatch["sdist"]  # every file of the repository


def test_every_line_is_text_or_a_known_macro() -> None:
    lines = PAGE.read_text().splitlines()
    assert {line.split()[0] for line in lines if line.startswith((".", "'"))} <= MACROS
    assert all(lines)
    assert PAGE.read_text().isascii()


def test_every_command_and_option_is_there() -> None:
    plain = re.sub(r"\\f[BR]", "", PAGE.read_text()).replace("\\-", "-")
    sections = dict(zip(*[iter(re.split(r"^\.SS (.*)\n", plain, flags=re.MULTILINE)[1:])] * 2, strict=True))
    assert list(sections) == list(COMMANDS)
    common = {action.dest for action in build_parser()._actions}
    for name, parser in build_parser().command_parsers().items():
        own = [action for action in parser._actions if action.dest not in common]
        assert [option for action in own for option in action.option_strings if option not in sections[name]] == []
    assert [option for option in build_parser()._option_string_actions if option not in plain] == []


def test_every_exit_code_is_explained() -> None:
    codes = {
        kind.exit_code
        for name in errors.__all__
        if isinstance(kind := getattr(errors, name), type)
        if hasattr(kind, "exit_code")
    }
    assert {str(code) for code in codes} | {"0"} == set(EXIT_CODES)


@pytest.mark.parametrize("width", [80, 132])
def test_it_can_be_read(width: int) -> None:
    reader = shutil.which("groff")
    if reader is None:
        pytest.skip("groff is not installed")
    root = Path(reader).parents[2]  # of an unpacked package, which does not find its own files
    places = {
        name: ":".join(str(path) for path in root.glob(f"usr/share/groff/*/{folder}"))
        for name, folder in (("GROFF_FONT_PATH", "font"), ("GROFF_TMAC_PATH", "tmac"))
    }
    command = [reader, "-man", "-Tutf8", "-ww", f"-rLL={width}n", "-P-c", str(PAGE)]
    environment = {**os.environ, **places, "LC_ALL": "C.UTF-8"}
    found = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert found.stderr == ""
    text = re.sub(r".\x08", "", found.stdout)
    assert max(map(len, text.splitlines())) <= width
    assert "dregutil remove-tags -r shop/web -t '<1.4' --dry-run\n" in text, "it can be copied"
    assert "--allow-irreversible" in text
