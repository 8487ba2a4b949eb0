"""The tables of an export, as values: what docs/analysis.md shows, and what is written into the files.

A released column keeps its name, type and meaning; new ones are added at the end. Anything else raises VERSION.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "LAYERS",
    "MANIFESTS",
    "PULLS",
    "PULL_SOURCES",
    "RUNS",
    "STEPS",
    "TABLES",
    "TAGS",
    "VERSION",
    "Column",
    "Table",
]

VERSION = 1

Type = Literal["string", "int32", "int64", "bool", "timestamp", "list of strings"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column. A timestamp has microseconds, UTC. `may_be_null`: it is null where nothing is known, or nothing is."""

    name: str
    type: Type
    what: str
    may_be_null: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table; `day` says which day its partitions are of."""

    name: str
    about: str
    day: str
    columns: tuple[Column, ...]


_EXPORTED = "of the export, UTC"
_BEGUN = "on which the run began, UTC"
_REPOSITORY = Column("repository", "string", "its name, without the registry")

TAGS = Table(
    "tags",
    "The tags of a registry as the store knows them, a row for each, on the day of the export.",
    _EXPORTED,
    (
        _REPOSITORY,
        Column("tag", "string", "its name"),
        Column("digest", "string", "the manifest that it names, such as `sha256:…`; that it named, if it is gone"),
        Column("came", "timestamp", "when a reading first found it on this digest"),
        Column("gone", "timestamp", "when a reading no longer found it; null while it is there", may_be_null=True),
        Column("read_at", "timestamp", "when all tags of the registry were last read", may_be_null=True),
    ),
)
MANIFESTS = Table(
    "manifests",
    "The manifests that tags lead to, and the children of indexes, once in each repository.",
    _EXPORTED,
    (
        _REPOSITORY,
        Column("digest", "string", "its digest"),
        Column("is_known", "bool", "whether its content was read; if not, all that follows is null"),
        Column("kind", "string", "`image`, `index`, `schema 1 image` or `unknown`", may_be_null=True),
        Column("media_type", "string", "its media type", may_be_null=True),
        Column("artifact_type", "string", "its artifact type; null for an image", may_be_null=True),
        Column("size", "int64", "bytes of the manifest itself", may_be_null=True),
        Column("config", "string", "the digest of its config", may_be_null=True),
        Column("config_size", "int64", "bytes of the config", may_be_null=True),
        Column("layers", "int32", "how many layers it has", may_be_null=True),
        Column(
            "children", "list of strings", "the digests of an index's manifests; empty for others", may_be_null=True
        ),
        Column("subject", "string", "the digest that it refers to, such as of a signature", may_be_null=True),
        Column("platform", "string", "such as `linux/arm64/v8`, by its config", may_be_null=True),
        Column("created", "timestamp", "the date in its config, whatever it says", may_be_null=True),
    ),
)
LAYERS = Table(
    "layers",
    "The layers of each manifest that was read, the base first.",
    _EXPORTED,
    (
        _REPOSITORY,
        Column("manifest", "string", "the digest of the manifest"),
        Column("position", "int32", "its place among the layers, from 0"),
        Column("digest", "string", "the digest of the layer"),
        Column("size", "int64", "bytes, as the manifest states them; 0 in an image of schema 1, which states none"),
        Column("media_type", "string", "its media type"),
        Column("is_foreign", "bool", "whether it is kept outside of the registry (base layers of Windows)"),
    ),
)
RUNS = Table(
    "runs",
    "What removed something, or put it back: a row for each run that is recorded in the store.",
    _BEGUN,
    (
        Column("run", "string", "its name, as in `dregutil history`"),
        Column("number", "int64", "its place among the runs of the store"),
        Column("begun", "timestamp", "when it began"),
        Column("finished", "timestamp", "when it ended; null if it did not", may_be_null=True),
        Column("actor", "string", "who ran it and where, as `user@host`", may_be_null=True),
        Column("command", "string", "the command line that planned it", may_be_null=True),
        Column("policy", "string", "the policy file of a cleanup", may_be_null=True),
        Column("undoes", "string", "the run that it put back, if it is an undo", may_be_null=True),
        Column("plan", "string", "the sum of its plan", may_be_null=True),
        Column("planned_by", "string", "who planned it", may_be_null=True),
        Column("approved_by", "list of strings", "who approved it"),
        Column("steps", "int64", "how many steps its plan has"),
        Column("removed", "int64", "steps that removed what they were to"),
        Column("already_gone", "int64", "steps whose tag or manifest somebody else had removed"),
        Column("left", "int64", "steps that were left, because what they remove was needed by then"),
        Column("failed", "int64", "steps that failed"),
        Column("unsettled", "int64", "steps without a recorded outcome"),
        Column("removed_tags", "int64", "tags that went"),
        Column("removed_manifests", "int64", "manifests that went"),
        Column("restored", "int64", "manifests that were put back"),
        Column("frees", "int64", "bytes that a garbage collection frees at most; null for an undo", may_be_null=True),
        Column("frees_is_exact", "bool", "whether it frees exactly that"),
        Column("damaged", "int64", "lines of its record that cannot be read"),
    ),
)
STEPS = Table(
    "steps",
    "The steps of each run, and what became of them. An undo has a row for each manifest that it put back.",
    _BEGUN,
    (
        Column("run", "string", "the name of the run"),
        Column("step", "int64", "its number in the plan; null where a manifest was put back", may_be_null=True),
        _REPOSITORY,
        Column("action", "string", "`delete` a manifest, `untag` a single tag, or `restore`"),
        Column("kind", "string", "`image`, `index`, `child` or `referrer`", may_be_null=True),
        Column("digest", "string", "the manifest"),
        Column("tags", "list of strings", "the tags that go with it, or came back"),
        Column("because", "string", "why the plan removes it", may_be_null=True),
        Column("policy", "string", "the policy that selects it, or what it belongs to", may_be_null=True),
        Column("size", "int64", "bytes of the image", may_be_null=True),
        Column("frees", "int64", "bytes that a garbage collection frees at most because of it", may_be_null=True),
        Column("created", "timestamp", "the date of the image", may_be_null=True),
        Column("intended", "timestamp", "when it was recorded that it will be sent; null if never", may_be_null=True),
        Column("fence", "int64", "under which lease; both are null for an imported run", may_be_null=True),
        Column("outcome", "string", "`removed`, `gone`, `left`, `failed` or `restored`", may_be_null=True),
        Column("why", "string", "why that is the outcome", may_be_null=True),
        Column("settled", "timestamp", "when it was recorded; null for an imported run", may_be_null=True),
    ),
)
PULLS = Table(
    "pulls",
    "The last recorded pull of each tag and each digest.",
    _EXPORTED,
    (
        _REPOSITORY,
        Column("tag", "string", "the tag that was pulled; null for a pull by digest", may_be_null=True),
        Column("digest", "string", "the digest that was pulled; null for a pull by tag", may_be_null=True),
        Column("last", "timestamp", "when it was last pulled"),
        Column("agent", "string", "what pulled it"),
        Column("source", "string", "what recorded it: the kind of source"),
    ),
)
PULL_SOURCES = Table(
    "pull_sources",
    "From when to when pulls are recorded. What was pulled at other times, or in a gap, is not known.",
    _EXPORTED,
    (
        Column("source", "string", "the kind of source"),
        Column("name", "string", "its name"),
        Column("since", "timestamp", "the beginning"),
        Column("until", "timestamp", "the end"),
        Column("is_gap", "bool", "whether pulls may be missing in this time"),
        Column("why", "string", "why they may be", may_be_null=True),
    ),
)
TABLES = (TAGS, MANIFESTS, LAYERS, RUNS, STEPS, PULLS, PULL_SOURCES)
