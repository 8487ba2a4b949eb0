"""Images with chosen contents in a content database, an index of them, and the same search by a loop in Python."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dregutil.inventory.contents.database import ContentDatabase
from dregutil.inventory.tags import Inventory
from dregutil.oci.image import ImageDetails, known_date
from dregutil.oci.manifest import Manifest, parse_manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.select.content_selector import ContentSelector, Match, base_layers
from dregutil.serve.images.build import Known, build_index
from dregutil.serve.images.index import ImageIndex, ImageRow
from dregutil.serve.images.query import Query
from images import CONFIG, IMAGE, INDEX, LAYER

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
REGISTRY = "registry.example.com"


@dataclass
class Shelf:
    """A content database, and what was put into it."""

    database: ContentDatabase = field(default_factory=ContentDatabase.private)
    manifests: dict[Digest, Manifest] = field(default_factory=dict)

    def image(
        self,
        layers: Sequence[str] = ("base",),
        *,
        created: datetime | None = None,
        labels: Mapping[str, str] | None = None,
        platform: str = "linux/amd64",
        size: int = 100,
        algorithm: str = "sha256",
    ) -> Digest:
        """An image with layers of these names, each of `size` bytes."""
        system, _, architecture = platform.partition("/")
        body: dict[str, Any] = {"os": system, "architecture": architecture, "config": {"Labels": dict(labels or {})}}
        if created is not None:
            body["created"] = created.isoformat()
        config = json.dumps(body).encode()
        named = Digest.of(config)
        parts = [{"mediaType": LAYER, "digest": self.layer(name), "size": size} for name in layers]
        raw = {"config": {"mediaType": CONFIG, "digest": named, "size": len(config)}, "layers": parts}
        return self._add({"mediaType": IMAGE, **raw}, IMAGE, algorithm, {named: config})

    def index(self, children: Sequence[Digest]) -> Digest:
        listed = [
            {"mediaType": self.manifests[one].media_type, "digest": one, "size": len(self.manifests[one].raw)}
            for one in children
        ]
        return self._add({"mediaType": INDEX, "manifests": listed}, INDEX, "sha256", {})

    @staticmethod
    def layer(name: str) -> Digest:
        return Digest.of(f"layer {name}".encode())

    def _add(self, body: dict[str, Any], media_type: str, algorithm: str, configs: dict[Digest, bytes]) -> Digest:
        raw = json.dumps({"schemaVersion": 2, **body}).encode()
        digest = Digest.of(raw, algorithm)
        self.manifests[digest] = parse_manifest(raw, media_type, digest)
        self.database.add([self.manifests[digest]], configs, [digest])
        return digest

    def build(self, folder: Path, tags: Mapping[str, Mapping[str, Digest]], **known: Any) -> ImageIndex:
        """The index of these tags."""
        inventory = Inventory(
            {Repository(name): {Tag(tag): on for tag, on in found.items()} for name, found in tags.items()}
        )
        path = folder / "serve" / "images.sqlite"
        build_index(path, Known(REGISTRY, inventory, self.database, **{"now": NOW, **known}))
        index = ImageIndex.open(path)
        assert index is not None
        return index


def named(rows: Sequence[ImageRow]) -> list[str]:
    return [f"{row.repository}:{row.tag}" for row in rows]


@dataclass(frozen=True)
class Expected:
    """The rows that a query means, found one by one."""

    rows: Sequence[ImageRow]
    details: Callable[[Digest], ImageDetails | None]

    def search(self, query: Query, sort: str, *, is_descending: bool) -> list[str]:
        found = [row for row in self.rows if self._is_meant(row, query)]
        return [f"{row.repository}:{row.tag}" for row in _sorted(found, sort, is_descending=is_descending)]

    def _is_meant(self, row: ImageRow, query: Query) -> bool:
        name = f"{row.repository}:{row.tag}".lower()
        states = {"held": row.held, "remove": row.verdict == "REMOVE", "keep": row.verdict == "KEEP"}
        return (
            all(word in name for word in query.words)
            and all(_begins(row.digest, one.algorithm, one.hex) for one in query.digests)
            and all(states[state] for state in query.states)
            and (not self._asks_for_contents(query) or self._has_contents(row.digest, query))
        )

    @staticmethod
    def _asks_for_contents(query: Query) -> bool:
        return bool(query.labels or query.bases or query.layers or query.platforms or query.older or query.larger)

    def _has_contents(self, digest: Digest, query: Query) -> bool:
        details = self.details(digest)
        if details is None:
            return False
        bases = [self._layers_of(base.repository, base.tag or Tag("latest")) for base in query.bases]
        created = known_date(details.created, NOW)
        return (
            ContentSelector(labels=query.labels).match(details, NOW) is Match.YES
            and all(ContentSelector(platforms=(one,)).match(details, NOW) is Match.YES for one in query.platforms)
            and all(ContentSelector(bases=base).match(details, NOW) is Match.YES for base in bases)
            and all(any(layer in one.layers for one in (details, *details.children)) for layer in query.layers)
            and all(created is not None and created < NOW - age for age in query.older)
            and all(details.size > size for size in query.larger)
        )

    def _layers_of(self, repository: Repository, tag: Tag) -> tuple[tuple[Digest, ...], ...]:
        on = next(row.digest for row in self.rows if (row.repository, row.tag) == (repository, tag))
        details = self.details(on)
        assert details is not None
        return base_layers(details)


def _begins(digest: Digest, algorithm: str, value: str) -> bool:
    return algorithm in ("", digest.algorithm) and digest.hex.startswith(value)


def _sorted(rows: Sequence[ImageRow], sort: str, *, is_descending: bool) -> list[ImageRow]:
    """What is not known comes last, by name, in both directions."""

    def name(row: ImageRow) -> tuple[str, str]:
        return (row.repository, row.tag)

    if sort in ("repository", "name"):
        return sorted(
            rows, key=name if sort == "repository" else lambda row: (row.tag, row.repository), reverse=is_descending
        )
    known = [row for row in rows if getattr(row, sort) is not None]
    unknown = sorted((row for row in rows if getattr(row, sort) is None), key=name)
    return [*sorted(known, key=lambda row: (getattr(row, sort), *name(row)), reverse=is_descending), *unknown]


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)
