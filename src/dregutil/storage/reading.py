"""Files → what the registry's storage holds (distribution's layout, `registry/storage/paths.go`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import msgspec

from dregutil.errors import ManifestError, StorageError, UsageError
from dregutil.manifest import (
    MAX_MANIFEST_BYTES,
    OCI_INDEX,
    OCI_MANIFEST,
    Kind,
    Manifest,
    parse_manifest,
)
from dregutil.placeholder import is_placeholder
from dregutil.reference import Digest, Repository, Tag
from dregutil.storage.files import Entry, Files, UnreadError
from dregutil.stored import Oddity, StoredManifest, StoredRegistry, StoredRepository, Upload, references

__all__ = ["read_data", "read_files", "read_moments"]

_BASES = ("docker/registry/v2", "registry/v2", "v2", "")
_LONGEST_LINK = 256  # bytes: a digest
_LONGEST_NAME = 255


def read_files(files: Files, place: str) -> StoredRegistry:
    """Raises StorageError where there is no registry's storage, or its folders cannot be listed."""
    return _Reading(files, _find(files, place)).read(place)


def read_data(files: Files, place: str, digests: Sequence[Digest], longest: int) -> Iterator[bytes | None]:
    """The data of blobs, checked; None where there is none to be believed. Raises StorageError."""
    base = _find(files, place)
    for digest, content in zip(
        digests, files.contents([f"{base}{_data(digest)}" for digest in digests], longest), strict=True
    ):
        yield content if isinstance(content, bytes) and digest.matches(content) else None


def read_moments(files: Files, place: str, manifests: Sequence[tuple[Repository, Digest]]) -> Iterator[datetime | None]:
    """When each manifest last came into its repository, by the file of its link. Raises StorageError."""
    base = _find(files, place)
    return files.moments(
        [
            f"{base}repositories/{repository}/_manifests/revisions/{digest.algorithm}/{digest.hex}/link"
            for repository, digest in manifests
        ]
    )


def _find(files: Files, place: str) -> str:
    """The folder that has `repositories` and `blobs`, with a slash at its end where it is not the root."""
    for base in _BASES:
        try:
            names = {entry.name for entry in files.entries(base) if entry.is_folder}
        except UnreadError as error:
            raise StorageError(f"the storage {place} cannot be read: {base or place}: {error}") from error
        if names & {"repositories", "blobs"}:
            return f"{base}/" if base else ""
    raise StorageError(
        f"there is no registry's storage in {place}",
        advice="name the folder of storage.filesystem.rootdirectory in the registry's configuration, "
        "or s3://BUCKET and its rootdirectory: the one that holds docker/registry/v2",
    )


@dataclass
class _Repository:
    """A repository in the making."""

    name: Repository
    folders: set[str]
    revisions: set[Digest] = field(default_factory=set)
    tags: dict[Tag, Digest] = field(default_factory=dict)
    layers: frozenset[Digest] = frozenset()
    uploads: list[Upload] = field(default_factory=list)
    has_tags: bool = False

    def frozen(self) -> StoredRepository:
        return StoredRepository(
            self.name,
            frozenset(self.revisions),
            self.tags,
            self.layers,
            tuple(self.uploads),
            has_layers="_layers" in self.folders,
            has_manifests="_manifests" in self.folders,
            has_tags=self.has_tags,
        )


class _Reading:
    def __init__(self, files: Files, base: str) -> None:
        self.files = files
        self.base = base
        self.oddities: list[Oddity] = []
        self._digests: dict[Digest, Digest] = {}

    def read(self, place: str) -> StoredRegistry:
        repositories = {found.name: found for found in self._repositories()}
        for found in repositories.values():
            found.layers = frozenset(digest for _, digest in self._linked(f"repositories/{found.name}/_layers"))
        self._read_revisions(repositories.values())
        self._read_tags(repositories.values())
        self._read_uploads(repositories.values())
        blobs = self._blobs()
        manifests = self._manifests(repositories.values(), blobs)
        return StoredRegistry(
            place,
            {name: found.frozen() for name, found in sorted(repositories.items())},
            blobs,
            manifests,
            tuple(self.oddities),
            self.files.keeps_empty_folders,
        )

    def _entries(self, folder: str) -> list[Entry]:
        try:
            return self.files.entries(f"{self.base}{folder}")
        except UnreadError as error:
            self._odd(folder, f"cannot be read: {error}")
            return []

    def _folders(self, folder: str) -> list[str]:
        return [entry.name for entry in self._entries(folder) if entry.is_folder]

    def _odd(self, place: str, why: str, *, hides: bool = True) -> None:
        self.oddities.append(Oddity(place, why, hides))

    def _repositories(self) -> Iterator[_Repository]:
        """Every folder that has `_layers`, `_manifests` or `_uploads`."""
        pending = [""]
        while pending:
            path = pending.pop()
            names = self._folders(f"repositories/{path}".rstrip("/"))
            own = {name for name in names if name in ("_layers", "_manifests", "_uploads")}
            if own:
                try:
                    yield _Repository(Repository.parse(path), own)
                except UsageError:
                    self._odd(f"repositories/{path}", "no repository can have this name")
                    continue
            if len(path) > _LONGEST_NAME:
                self._odd(f"repositories/{path[:60]}…", "deeper than any repository's name")
                continue
            pending += [f"{path}/{name}" if path else name for name in names if not name.startswith("_")]

    def _linked(self, folder: str) -> Iterator[tuple[str, Digest]]:
        """The digests that folders are named for: `<algorithm>/<hex>`."""
        for algorithm in self._folders(folder):
            for name in self._folders(f"{folder}/{algorithm}"):
                path = f"{folder}/{algorithm}/{name}"
                digest = self._digest(f"{algorithm}:{name}")
                if digest is None:
                    self._odd(path, "no digest has this name")
                else:
                    yield path, digest

    def _digest(self, text: str) -> Digest | None:
        try:
            found = Digest.parse(text)
        except UsageError:
            return None
        return self._digests.setdefault(found, found)

    def _links(self, paths: Sequence[str]) -> Iterator[tuple[bool, Digest | None]]:
        """For each file: whether it is there, and the digest that is in it, if one is."""
        full = [f"{self.base}{path}" for path in paths]
        for path, content in zip(paths, self.files.contents(full, _LONGEST_LINK), strict=True):
            if content is None:
                yield False, None
                continue
            digest = None
            if isinstance(content, UnreadError):
                self._odd(path, f"cannot be read: {content}")
            else:
                digest = self._digest(content.decode("ascii", "replace"))
                if digest is None:
                    self._odd(path, "holds no digest")
            yield True, digest

    def _read_revisions(self, repositories: Iterable[_Repository]) -> None:
        places = [
            (found, path, digest)
            for found in repositories
            for path, digest in self._linked(f"repositories/{found.name}/_manifests/revisions")
        ]
        links = self._links([f"{path}/link" for _, path, _ in places])
        for (found, path, digest), (_, target) in zip(places, links, strict=True):
            # A folder without a link is what a deletion leaves.
            if target == digest:
                found.revisions.add(digest)
            elif target is not None:
                self._odd(f"{path}/link", f"names another digest, {target.short}")

    def _read_tags(self, repositories: Iterable[_Repository]) -> None:
        places: list[tuple[_Repository, str]] = []
        for found in repositories:
            folders = self._folders(f"repositories/{found.name}/_manifests")
            found.has_tags = "tags" in folders
            if found.has_tags:
                places += [(found, name) for name in self._folders(f"repositories/{found.name}/_manifests/tags")]
        folders = [f"repositories/{found.name}/_manifests/tags/{name}" for found, name in places]
        links = self._links([f"{folder}/current/link" for folder in folders])
        for (found, name), folder, (is_there, target) in zip(places, folders, links, strict=True):
            try:
                tag = Tag.parse(name)
            except UsageError:
                self._odd(folder, "no tag can have this name", hides=False)
                continue
            if not is_there:
                self._odd(folder, "a tag that points nowhere: it has no link", hides=False)
            elif target is not None:
                found.tags[tag] = target
                if target not in found.revisions:
                    self._odd(folder, f"a tag that points nowhere: {target.short} is not there", hides=False)

    def _read_uploads(self, repositories: Iterable[_Repository]) -> None:
        places = [
            (found, name)
            for found in repositories
            if "_uploads" in found.folders
            for name in self._folders(f"repositories/{found.name}/_uploads")
        ]
        folders = [f"{self.base}repositories/{found.name}/_uploads/{name}" for found, name in places]
        begun = self.files.contents([f"{folder}/startedat" for folder in folders], _LONGEST_LINK)
        sizes = self.files.sizes([f"{folder}/data" for folder in folders])
        for (found, name), started, size in zip(places, begun, sizes, strict=True):
            when = _moment(started) if isinstance(started, bytes) else None
            found.uploads.append(Upload(name, when, size if isinstance(size, int) else 0))

    def _blobs(self) -> dict[Digest, int]:
        found: list[tuple[Digest, str]] = []
        for algorithm in self._folders("blobs"):
            for prefix in self._folders(f"blobs/{algorithm}"):
                for name in self._folders(f"blobs/{algorithm}/{prefix}"):
                    path = f"blobs/{algorithm}/{prefix}/{name}"
                    digest = self._digest(f"{algorithm}:{name}")
                    if digest is None or not name.startswith(prefix):
                        self._odd(path, "no digest has this name", hides=False)
                    else:
                        found.append((digest, f"{path}/data"))
        sizes = self.files.sizes([f"{self.base}{path}" for _, path in found])
        blobs = {}
        for (digest, path), size in zip(found, sizes, strict=True):
            if isinstance(size, UnreadError):
                self._odd(path, f"cannot be read: {size}")
            elif size is not None:
                blobs[digest] = size
        return blobs

    def _manifests(self, repositories: Iterable[_Repository], blobs: dict[Digest, int]) -> dict[Digest, StoredManifest]:
        wanted = dict.fromkeys(digest for found in repositories for digest in found.revisions)
        there = []
        for digest in wanted:
            if digest in blobs:
                there.append(digest)
            else:
                self._odd(_data(digest), "a manifest whose data is missing", hides=False)
        found = {}
        contents = self.files.contents([f"{self.base}{_data(digest)}" for digest in there], MAX_MANIFEST_BYTES)
        for digest, content in zip(there, contents, strict=True):
            try:
                found[digest] = self._stored(_manifest(digest, content))
            except (ManifestError, UnreadError) as error:
                self._odd(_data(digest), str(error))
        return found

    def _stored(self, manifest: Manifest) -> StoredManifest:
        one = self._digests.setdefault
        subject = None if manifest.subject is None else one(manifest.subject.digest, manifest.subject.digest)
        named = tuple(one(digest, digest) for digest in references(manifest))
        elsewhere = frozenset(layer.digest for layer in manifest.layers if layer.urls or "foreign" in layer.media_type)
        return StoredManifest(
            manifest.digest, manifest.kind, manifest.media_type, named, subject, elsewhere, is_placeholder(manifest)
        )


class _Named(msgspec.Struct, rename="camel"):
    media_type: str = ""
    schema_version: int = 0


def _manifest(digest: Digest, content: bytes | UnreadError | None) -> Manifest:
    """A manifest from its data. One that names no media type is what its shape says, as the registry sees it.

    Raises UnreadError and ManifestError.
    """
    if isinstance(content, UnreadError):
        raise content
    if content is None:
        raise UnreadError("went away while it was read")
    if not digest.matches(content):
        raise UnreadError(f"is not what its digest says ({len(content):,} bytes): damaged, or cut short")
    found = parse_manifest(content, "", digest)
    if found.kind is not Kind.UNKNOWN:
        return found
    try:
        named = msgspec.json.decode(content, type=_Named)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnreadError("is no manifest") from error
    if named.media_type:
        return replace(found, media_type=named.media_type)
    if named.schema_version == 1:
        return replace(found, kind=Kind.SCHEMA1)
    return parse_manifest(content, OCI_INDEX if found.children else OCI_MANIFEST, digest)


def _data(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex[:2]}/{digest.hex}/data"


def _moment(text: bytes) -> datetime | None:
    try:
        found = datetime.fromisoformat(text.decode("ascii").strip())
    except (UnicodeDecodeError, ValueError):
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
