"""The keys of each section of a policy file, as JSON Schema; used by the reader and for the published schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["ENGINES", "IN_USE", "KEYS", "REMOVING", "REQUIRED", "policy_schema"]

_Schema = Mapping[str, Any]


def _texts(description: str) -> _Schema:
    return {"description": description, "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}


def _labels(description: str) -> _Schema:
    text: _Schema = {"type": "string"}
    values: _Schema = {"anyOf": [text, {"type": "array", "items": text}]}
    either = [text, {"type": "array", "items": text}, {"type": "object", "additionalProperties": values}]
    return {"description": f"{description}; any of them is enough", "anyOf": either}


def _number(description: str) -> _Schema:
    return {"description": description, "type": "integer", "minimum": 1}


def _duration(description: str) -> _Schema:
    return {"description": description, "type": "string", "pattern": "^([0-9]+[smhdwy])+$", "examples": ["90d", "24h"]}


def _switch(description: str) -> _Schema:
    return {"description": description, "type": "boolean"}


def _section(name: str) -> _Schema:
    return {"$ref": f"#/$defs/{name}"}


def _list(name: str, description: str) -> _Schema:
    return {"description": description, "type": "array", "items": _section(name)}


_SETTINGS: Mapping[str, _Schema] = {
    "unknown_date": {
        "description": "how an image without a plausible creation date is judged",
        "enum": ["keep", "first_seen"],
    },
    "min_age": _duration("nothing younger is removed, regardless of the rules (default 24h)"),
    "max_remove": {
        "description": "the most of a policy's selected tags that a run may remove (default 30%)",
        "anyOf": [{"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?%$"}, {"type": "integer", "minimum": 0}],
    },
    "untag": _switch("remove only the tag if its digest stays (default false)"),
    "allow_empty": _switch("allow a repository to be emptied (default false)"),
}
_RULES: Mapping[str, _Schema] = {
    "last": _number("the newest images, in the policy's order, up to this number"),
    "count": {"description": "what last counts (default images)", "enum": ["images", "tags"]},
    "daily": _number("the newest of each of the last days that have any, for this many days"),
    "weekly": _number("the newest of each of the last ISO weeks that have any, for this many weeks"),
    "monthly": _number("the newest of each of the last months that have any, for this many months"),
    "yearly": _number("the newest of each of the last years that have any, for this many years"),
    "within": _duration("everything younger"),
    "pulled_within": _duration("everything that was pulled or came since; needs protect: pulls"),
    "tags": _texts("globs of tags"),
    "versions": _texts("comparisons of versions, such as '>=2.0'"),
    "named_in": {
        "description": "groups whose name is in this list: a path from the policy file's folder, or a section",
        "anyOf": [{"type": "string"}, _section("named_in")],
    },
    "by": {"description": "the named group of the regex that named_in looks up", "type": "string"},
    "label": _labels("labels and annotations by key, or 'key' and 'key=value'; an index has those of all its images"),
}
KEYS: Mapping[str, Mapping[str, _Schema]] = {
    "policy file": {
        "version": {"description": "version of the format", "const": 1},
        "timezone": {"description": "time zone of the calendar rules (default UTC)", "type": "string"},
        "defaults": _section("defaults"),
        "protect": _section("protect"),
        "floor": _section("floor"),
        "policies": _list("policy", "the first policy that selects a tag owns it"),
    },
    "defaults": _SETTINGS,
    "floor": {
        "keep": _section("keep"),
        "protect": _section("protect"),
        "min_age": _SETTINGS["min_age"],
        "max_remove": _SETTINGS["max_remove"],
    },
    "protect": {
        "tags": _texts("globs of tags that no policy can remove"),
        "repositories": _texts("globs of repositories from which no policy can remove anything"),
        "in_use": _list("in_use", "what is in use: lists of images, and Kubernetes clusters"),
        "labels": _labels("labels and annotations of images that no policy can remove, as in keep"),
        "pulls": _list("pulls", "what records pulls, for pulled_within: all of these must have recorded them"),
        "aliases": _texts("other host names of this registry, for reading the lists"),
    },
    "in_use": {
        "file": {"description": "a path, from the policy file's folder; - is standard input", "type": "string"},
        "max_age": _duration("the run is refused if the file is older"),
        "kubernetes": _section("kubernetes"),
        "docker": {"description": "the containers of the local Docker", "const": True},
        "podman": {"description": "the containers of the local podman", "const": True},
    },
    "kubernetes": {
        "contexts": _texts("contexts of the kubeconfig (default: the current one, or the cluster that this runs in)"),
        "finished": _switch("completed jobs and pods count (default true)"),
        "ignore": _texts("kinds that are not asked for, such as 'pipelines.tekton.dev' or '*.tekton.dev'"),
    },
    "pulls": {
        "events": _switch("the registry's notifications, as `dregutil listen` records them"),
        "log": {
            "description": "access logs: true for those that `dregutil pulls read` records, or paths and globs, from "
            "the policy file's folder, of logs that each run reads first",
            "anyOf": [{"type": "boolean"}, *_texts("")["anyOf"]],
        },
        "line_format": {
            "description": "a regular expression for lines of the logs, with the groups time, method, path, status and "
            "agent, if they are in no known format",
            "type": "string",
        },
        "server": _switch("the API of the registry's service"),
        "since": {"description": "a date; nothing before it counts as recorded", "type": "string"},
        "max_gap": _duration("what was before a longer gap is not known (default 24h)"),
    },
    "named_in": {
        "file": {"description": "a path, from the policy file's folder: a name in each line", "type": "string"},
        "max_age": _duration("the run is refused if the file is older"),
        "max_shrink": {
            "description": "the run is refused if the list has lost this share since the last cleanup (default 30%)",
            "type": "string",
            "pattern": "^[0-9]+(\\.[0-9]+)?%$",
        },
    },
    "policy": {
        "name": {"description": "the policy's name in reports", "type": "string"},
        "repositories": _texts("globs of repositories; ** also matches '/'"),
        "select": _section("select"),
        "group_by": _texts("repository, major, minor, variant, or named groups of the regex"),
        "keep": _section("keep"),
        "order": {
            "description": "what makes a tag newer (default time)",
            "anyOf": [{"enum": ["time", "version"]}, _section("order")],
        },
        "expires": _section("expires"),
        "keep_under": {
            "description": "remove the oldest that nothing keeps until the rest refers to less than this",
            "type": ["string", "integer"],
            "examples": ["2TB", "500GiB"],
        },
        "doomed": _list("doomed", "lists of images to remove, by digest; only these and what has expired go"),
        **_SETTINGS,
    },
    "order": {"regex_group": {"description": "the named group of the regex that has a number", "type": "string"}},
    "doomed": {
        "file": {
            "description": "a path, from the policy file's folder: repository@digest in each line",
            "type": "string",
        },
        "max_age": _duration("the run is refused if the file is older"),
    },
    "expires": {
        "label": {"description": "the label or annotation with a duration (2w) or a date", "type": "string"},
        "from": {"description": "what a duration counts from (default created)", "enum": ["created", "seen"]},
    },
    "select": {
        "tags": _texts("globs of tags"),
        "regex": _texts("regular expressions for the whole tag"),
        "version": _texts("comparisons of versions, such as '>=1.0'; several in one string must all match"),
        "label": _texts("labels: key, or key=value"),
        "media_type": _texts("globs of media types or artifact types, such as 'application/vnd.oci.*'"),
        "artifact_type": _texts("globs of artifact types"),
        "platform": _texts("platforms, such as linux/arm64, linux or arm64"),
        "older_than": _duration("images created longer ago, which have been here as long"),
        "larger_than": {
            "description": "images larger than this, in bytes or with a unit, such as 1GB",
            "type": ["string", "integer"],
        },
        "untagged": _switch("manifests without a tag that belong to nothing else; cannot be combined with other keys"),
    },
    "keep": {
        **_RULES,
        "all": _list("rule", "rules that must all keep a tag"),
        "none": _switch("keep nothing, explicitly"),
    },
    "rule": _RULES,
}
REMOVING = ("keep", "expires", "doomed", "keep_under")
"""A policy must have at least one of these: it says what is removed."""
ENGINES = ("docker", "podman")
IN_USE = ("file", "kubernetes", *ENGINES)
"""An item of `in_use` has exactly one of these."""
REQUIRED: Mapping[str, tuple[str, ...]] = {
    "policy file": ("version",),
    "policy": ("name", "repositories"),
    "expires": ("label",),
    "doomed": ("file",),
    "order": ("regex_group",),
    "named_in": ("file",),
}


def policy_schema() -> dict[str, Any]:
    """The JSON Schema of a policy file."""
    sections = {name: _object(name) for name in KEYS}
    whole = sections.pop("policy file")
    whole = {**whole, "anyOf": [{"required": [key]} for key in ("policies", "floor")]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "dregutil policy",
        **whole,
        "$defs": sections,
    }


def _object(name: str) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": dict(KEYS[name])}
    if name in REQUIRED:
        found["required"] = list(REQUIRED[name])
    if name == "policy":
        found["anyOf"] = [{"required": [key]} for key in REMOVING]
    if name == "in_use":
        found["oneOf"] = [{"required": [key]} for key in IN_USE]
    if name in ("keep", "rule"):
        found["minProperties"] = 1
    return found
