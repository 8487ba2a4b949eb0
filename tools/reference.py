"""The pages docs/commands.md and docs/serve-api.md, which `python tools/manpage.py` regenerates with the man page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dregutil.cli.help import command_topic, global_options_topic
from dregutil.cli.parser import GROUPS, build_parser
from dregutil.report.help import Section, Topic
from dregutil.serve.openapi import description

DOCS = Path(__file__).parents[1] / "docs"
_JSON = "application/json"


def pages(exit_codes: Mapping[str, str]) -> dict[Path, str]:
    """Each generated page, and its text."""
    return {DOCS / "commands.md": _joined(_commands(exit_codes)), DOCS / "serve-api.md": _joined(_serve())}


def _joined(blocks: Iterable[str]) -> str:
    return "\n\n".join(blocks) + "\n"


def _commands(exit_codes: Mapping[str, str]) -> Iterator[str]:
    parser = build_parser()
    overall = global_options_topic(parser.groups())
    yield "# Commands"
    yield (
        "What `dregutil help COMMAND` shows, and `man dregutil`. [Options of every command](#global-options), "
        "[exit codes](#exit-codes)."
    )
    parsers = parser.command_parsers()
    for group in GROUPS:
        yield f"## {group.TITLE.capitalize()}"
        for command in group.COMMANDS:
            yield f"### {command.name}"
            yield from _topic(command_topic(command, parsers[command.name].groups()))
    yield "## Global options"
    yield from _topic(overall)
    yield "## Exit codes"
    yield "\n".join(f"- `{code}`: {text}" for code, text in exit_codes.items())


def _topic(topic: Topic) -> Iterator[str]:
    yield f"```text\n{topic.usage}\n```"
    yield _prose(topic.about)
    for section in topic.sections:
        yield from _section(section)
    if topic.examples:
        lines = (f"# {_plain(comment)}\ndregutil {line}" for line, comment in topic.examples)
        yield "```bash\n" + "\n".join(lines) + "\n```"


def _section(section: Section) -> Iterator[str]:
    title = f"{section.title[:1].upper()}{section.title[1:]}"
    yield f"{title} ({_prose(section.note)}):" if section.note else f"{title}:"
    yield "\n".join(f"- `{row.name}`: {_prose(row.text)}" for row in section.rows)


def _prose(text: str) -> str:
    """Text in which only what is in backticks is special."""
    parts = text.split("`")
    return "`".join(part if place % 2 else re.sub(r"([\\*_<\[|])", r"\\\1", part) for place, part in enumerate(parts))


def _plain(text: str) -> str:
    return text.replace("`", "")


def _serve() -> Iterator[str]:
    document = description("dregutil")
    yield "# The API of serve"
    yield (
        "The routes of [`dregutil serve`](serve.md) for programs. `/api/v1/openapi.json` of a running one describes "
        f"the same as OpenAPI {document['openapi']}. What is refused is answered with a [Failure](#failure)."
    )
    yield "## Routes"
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield f"### {method.upper()} {path}"
            yield "\n".join((operation["summary"], "", *(f"- {fact}" for fact in _facts(operation))))
    yield "## Types"
    for name, schema in document["components"]["schemas"].items():
        yield f"### {name}"
        if schema["description"]:
            yield _prose(schema["description"])
        rows = "\n".join(
            f"- `{key}`: {_kind(of)}{_default(key, of, schema)}" for key, of in schema["properties"].items()
        )
        yield rows or "An object without keys."


def _facts(operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"role: {operation['x-role']}"
    for one in operation["parameters"]:
        yield f"`{one['name']}` in the {one['in']}: {_kind(one['schema'])}"
    if "requestBody" in operation:
        yield f"takes {_kind(operation['requestBody']['content'][_JSON]['schema'])}"
    refused = [code for code in operation["responses"] if code >= "400"]
    for code, answer in operation["responses"].items():
        if code < "400":
            kinds = [
                _kind(of["schema"]) if "schema" in of else f"`{kind}`" for kind, of in answer.get("content", {}).items()
            ]
            yield f"{code}: {answer['description'] if not kinds else ', '.join(kinds)}"
    yield f"refused with {', '.join(refused)}"


def _default(key: str, of: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """What holds where the key is not given; empty for one that must be."""
    if key in schema.get("required", ()):
        return ""
    return f"; by default `{json.dumps(of['default'])}`" if "default" in of else "; may be left out"


def _kind(schema: Mapping[str, Any]) -> str:
    """A type in words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{one}`" for one in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}" if "items" in schema else "list"
    if "additionalProperties" in schema:
        return f"object with values of {_kind(schema['additionalProperties'])}"
    return str(schema.get("type", "anything"))
