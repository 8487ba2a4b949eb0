"""Files → what the registry's storage holds (distribution's layout, `registry/storage/paths.go`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from dregutil.errors import ManifestError, StorageError, UsageError
from dregutil.oci.manifest import MAX_MANIFEST_BYTES, Kind, Manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.oci.placeholder import is_placeholder
from dregutil.storage.files import Entry, Files, TooLongError, UnreadError
from dregutil.storage.manifest_data import NoManifestError, manifest_of_data
from dregutil.storage.stored import Oddity, Stops, StoredManifest, StoredRegistry, StoredRepository, Upload, references

__all__ = ["read_data", "read_files", "read_moments"]

_BASES = ("docker/registry/v2", "registry/v2", "v2", "")
_LONGEST_LINK = 256  # bytes: a digest
_LONGEST_NAME = 255
_STRAY = "data of no blob"


class _NoDigest:
    """A link without a digest in it."""


def read_files(files: Files, place: str) -> StoredRegistry:
    """Read a whole storage. Raises StorageError if there is none, or its top folders cannot be listed."""
    return _StorageReader(files, _find(files, place)).read(place)


def read_data(files: Files, place: str, digests: Sequence[Digest], longest: int) -> Iterator[bytes | None]:
    """The data of blobs, in order; None if it is not there or does not match. Raises StorageError."""
    base = _find(files, place)
    for digest, content in zip(
        digests, files.contents([f"{base}{_data(digest)}" for digest in digests], longest), strict=True
    ):
        yield content if isinstance(content, bytes) and digest.matches(content) else None


def read_moments(files: Files, place: str, manifests: Sequence[tuple[Repository, Digest]]) -> Iterator[datetime | None]:
    """When each manifest was last pushed into its repository, by the file of its link. Raises StorageError."""
    base = _find(files, place)
    return files.moments(
        [
            f"{base}repositories/{repository}/_manifests/revisions/{digest.algorithm}/{digest.hex}/link"
            for repository, digest in manifests
        ]
    )


def _find(files: Files, place: str) -> str:
    """The folder that has `repositories` and `blobs`: empty for the root, else with a slash at its end."""
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
    unread: set[Digest] = field(default_factory=set)

    def stops(self, stops: Stops) -> Stops:
        """`stops`, if a collector of 2.8 goes through this repository at all."""
        return stops if "_layers" in self.folders else Stops.NONE

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
            unread=frozenset(self.unread),
        )


class _StorageReader:
    def __init__(self, files: Files, base: str) -> None:
        self.files = files
        self.base = base
        self.oddities: list[Oddity] = []
        self._digests: dict[str, Digest] = {}
        self._unread: set[Digest] = set()
        self._is_listed = True

    def read(self, place: str) -> StoredRegistry:
        repositories = {found.name: found for found in self._repositories()}
        for found in repositories.values():
            found.layers = frozenset(self._layers(f"repositories/{found.name}/_layers"))
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
            frozenset(self._unread),
            self._is_listed,
        )

    def _entries(self, folder: str) -> list[Entry]:
        try:
            return self.files.entries(f"{self.base}{folder}")
        except UnreadError as error:
            self._failed(folder, error)
            self._is_listed = False
            return []

    def _folders(self, folder: str) -> list[str]:
        return [entry.name for entry in self._entries(folder) if entry.is_folder]

    def _odd(self, place: str, why: str, *, hides: bool = True, stops: Stops = Stops.NONE) -> None:
        self.oddities.append(Oddity(place, why, hides, stops=stops))

    def _failed(self, place: str, error: UnreadError) -> None:
        self.oddities.append(Oddity(place, f"cannot be read: {error}", unread=True))

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
                    stops = Stops.ALL if "_layers" in own else Stops.NONE
                    self._odd(f"repositories/{path}", "not a valid name of a repository", stops=stops)
                    continue
            if len(path) > _LONGEST_NAME:
                self._odd(f"repositories/{path[:60]}…", "deeper than the name of a repository can be")
                continue
            pending += [f"{path}/{name}" if path else name for name in names if not name.startswith("_")]

    def _linked(self, folder: str) -> Iterator[tuple[str, Digest | None]]:
        """The folders `<algorithm>/<hex>`, and the digest in the name of each; None if it is not a digest."""
        for algorithm in self._folders(folder):
            for name in self._folders(f"{folder}/{algorithm}"):
                path = f"{folder}/{algorithm}/{name}"
                digest = self._digest(f"{algorithm}:{name}")
                if digest is None:
                    self._odd(path, "its name is not a digest")
                yield path, digest

    def _layers(self, folder: str) -> Iterator[Digest]:
        """The layers that a repository has links to. The collector of 3 deletes a link and leaves its folder."""
        linked = list(self._linked(folder))
        sizes = self.files.sizes([f"{self.base}{path}/link" for path, _ in linked])
        for (_, digest), size in zip(linked, sizes, strict=True):
            if digest is not None and size is not None:
                yield digest

    def _digest(self, text: str) -> Digest | None:
        known = self._digests.get(text)
        if known is not None:
            return known
        try:
            found = Digest.parse(text)
        except UsageError:
            return None
        return self._digests.setdefault(found, found)

    def _links(self, paths: Sequence[str], stops: Sequence[Stops]) -> Iterator[Digest | UnreadError | _NoDigest | None]:
        """For each file the digest in it, or why there is none; None if there is no such file.

        `stops`: for each, the collectors that stop at it if it holds no digest.
        """
        contents = self.files.contents([f"{self.base}{path}" for path in paths], _LONGEST_LINK)
        for path, content, stopped in zip(paths, contents, stops, strict=True):
            if content is None:
                yield None
            elif isinstance(content, UnreadError) and not isinstance(content, TooLongError):
                self._failed(path, content)
                yield content
            else:
                digest = self._digest(content.decode("ascii", "replace")) if isinstance(content, bytes) else None
                if digest is None:
                    self._odd(path, "holds no digest", stops=stopped)
                yield digest or _NoDigest()

    def _read_revisions(self, repositories: Iterable[_Repository]) -> None:
        places = []
        for found in repositories:
            folder = f"repositories/{found.name}/_manifests/revisions"
            places += [(found, path, digest) for path, digest in self._linked(folder)]
        paths = [f"{path}/link" for _, path, _ in places]
        links = self._links(paths, [found.stops(Stops.ALL) for found, _, _ in places])
        for (found, path, digest), target in zip(places, links, strict=True):
            # A deletion leaves a folder without a link.
            if digest is None:
                continue
            if target == digest:
                found.revisions.add(digest)
            elif isinstance(target, UnreadError):
                found.unread.add(digest)
            elif isinstance(target, Digest):
                self._odd(f"{path}/link", f"names another digest, {target.short}")

    def _read_tags(self, repositories: Iterable[_Repository]) -> None:
        places: list[tuple[_Repository, str]] = []
        for found in repositories:
            folders = self._folders(f"repositories/{found.name}/_manifests")
            found.has_tags = "tags" in folders
            if found.has_tags:
                places += [(found, name) for name in self._tag_folders(found)]
        folders = [f"repositories/{found.name}/_manifests/tags/{name}" for found, name in places]
        paths = [f"{folder}/current/link" for folder in folders]
        links = self._links(paths, [found.stops(Stops.UNTAGGED) for found, _ in places])
        for (found, name), folder, target in zip(places, folders, links, strict=True):
            try:
                tag = Tag.parse(name)
            except UsageError:
                self._odd(folder, "not a valid name of a tag", hides=False)
                continue
            if target is None:
                self._odd(folder, "a tag that names nothing: it has no link", hides=False)
            elif isinstance(target, Digest):
                found.tags[tag] = target
                if target not in found.revisions | found.unread and self._is_listed:
                    self._odd(folder, f"a tag that names nothing: {target.short} is not there", hides=False)

    def _tag_folders(self, found: _Repository) -> Iterator[str]:
        folder = f"repositories/{found.name}/_manifests/tags"
        for entry in self._entries(folder):
            if entry.is_folder:
                yield entry.name
            elif self.files.keeps_empty_folders:
                # A file system reports a path below a file with another error than a missing file.
                why = "a file among the folders of tags"
                self._odd(f"{folder}/{entry.name}", why, hides=False, stops=found.stops(Stops.UNTAGGED))

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
        found = [*self._blob_folders()]
        sizes = self.files.sizes([f"{self.base}{path}" for _, path in found])
        blobs = {}
        for (digest, path), size in zip(found, sizes, strict=True):
            if isinstance(size, UnreadError):
                self._failed(path, size)
                self._unread.add(digest)
            elif size is not None:
                blobs[digest] = size
        return blobs

    def _blob_folders(self) -> Iterator[tuple[Digest, str]]:
        """The digest of each blob and the path of its data. Anything else under `blobs` is an oddity."""
        for algorithm in self._below("blobs"):
            for prefix in self._below(f"blobs/{algorithm}"):
                for name in self._below(f"blobs/{algorithm}/{prefix}"):
                    path = f"blobs/{algorithm}/{prefix}/{name}"
                    digest = self._digest(f"{algorithm}:{name}")
                    if digest is None or prefix != name[:2]:
                        self._odd(path, "its name is not a digest", hides=False)
                        self._find_strays(path)
                    else:
                        yield digest, f"{path}/data"

    def _below(self, folder: str) -> Iterator[str]:
        """The folders in a folder of `blobs` that should have no data of its own."""
        for entry in self._entries(folder):
            if entry.is_folder:
                yield entry.name
            elif entry.name == "data":
                self._odd(f"{folder}/data", _STRAY, hides=False, stops=Stops.ALL)

    def _find_strays(self, folder: str) -> None:
        pending = [folder]
        while pending:
            path = pending.pop()
            pending += [f"{path}/{name}" for name in self._below(path)]

    def _manifests(self, repositories: Iterable[_Repository], blobs: dict[Digest, int]) -> dict[Digest, StoredManifest]:
        gone_through: dict[Digest, bool] = {}
        for held in repositories:
            for digest in held.revisions:
                gone_through[digest] = gone_through.get(digest, False) or "_layers" in held.folders
        there = []
        for digest in gone_through:
            if digest in blobs:
                there.append(digest)
            elif digest not in self._unread and self._is_listed:
                self._odd(_data(digest), "a manifest whose data is missing", hides=False)
        found = {}
        contents = self.files.contents([f"{self.base}{_data(digest)}" for digest in there], MAX_MANIFEST_BYTES)
        for digest, content in zip(there, contents, strict=True):
            if isinstance(content, UnreadError) and not isinstance(content, TooLongError):
                self._failed(_data(digest), content)
                self._unread.add(digest)
                continue
            try:
                found[digest] = self._stored(manifest_of_data(digest, content))
            except (ManifestError, UnreadError) as error:
                stops = Stops.ALL if gone_through[digest] and isinstance(error, NoManifestError) else Stops.NONE
                self._odd(_data(digest), str(error), stops=stops)
        return found

    def _stored(self, manifest: Manifest) -> StoredManifest:
        one = self._digests.setdefault
        subject = None if manifest.subject is None else one(manifest.subject.digest, manifest.subject.digest)
        named = tuple([one(digest, digest) for digest in references(manifest)])
        others: tuple[Digest, ...] = ()
        if manifest.is_ambiguous:
            found = dict.fromkeys(descriptor.digest for descriptor in (*manifest.children, *manifest.blobs))
            others = tuple(one(digest, digest) for digest in found if digest not in named)
        elsewhere = [layer.digest for layer in manifest.layers if layer.urls or "foreign" in layer.media_type]
        listed = [layer.digest for layer in manifest.layers] if manifest.kind is Kind.INDEX else []
        return StoredManifest(
            manifest.digest,
            manifest.kind,
            manifest.media_type,
            named,
            subject,
            frozenset(elsewhere),
            is_placeholder(manifest),
            frozenset(listed).difference(child.digest for child in manifest.children) if listed else frozenset(),
            others,
            manifest.is_runnable,
            manifest.is_ambiguous,
        )


def _data(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex[:2]}/{digest.hex}/data"


def _moment(text: bytes) -> datetime | None:
    try:
        found = datetime.fromisoformat(text.decode("ascii").strip())
    except (UnicodeDecodeError, ValueError):
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
