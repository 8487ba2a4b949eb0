"""The removed manifests of a run as an OCI image layout (image-spec, "Image Layout"), for tools such as `skopeo`.

It is derived from the journal and can be made again at any time: `undo` does not need it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dregutil.errors import ManifestError, UsageError
from dregutil.files import make_private_folder, write_private
from dregutil.oci.manifest import OCI_INDEX, Manifest, parse_manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.outcome import Intent, LostTag, Outcome, Recorder

__all__ = ["LaidOutRecorder", "Layout", "laid_out", "laid_out_names", "write_layout"]

REF_NAME = "org.opencontainers.image.ref.name"
REPOSITORY = "dregutil.repository"
TAGS = "dregutil.tags"


class Layout:
    """A layout that grows: manifests one after another, and at the end the index that names them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._entries: list[dict[str, Any]] = []
        self._seen: set[Digest] = set()
        self._named: set[tuple[str, Digest]] = set()
        self._folders: dict[str, str] = {}  # of blobs, by algorithm

    def add(self, intents: Iterable[Intent]) -> None:
        """Write the manifests of `intents`: an entry for each tag, named `repository:tag`. Raises OSError.

        Layers and configs are not in it: they stay in the registry until it collects its garbage.
        """
        for intent in intents:
            if intent.manifest.digest not in self._seen:
                self._write(intent.manifest)
                self._seen.add(intent.manifest.digest)
            names = [f"{intent.repository}:{tag}" for tag in intent.tags]
            for name in names or [f"{intent.repository}@{intent.manifest.digest}"]:
                self._name(name, intent)

    def finish(self) -> None:
        """Write the index that names them all. Raises OSError."""
        make_private_folder(self.folder)
        write_private(self.folder / "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": self._entries}
        write_private(self.folder / "index.json", json.dumps(index).encode())

    def _write(self, manifest: Manifest) -> None:
        algorithm, _, value = manifest.digest.partition(":")
        folder = self._folders.get(algorithm)
        if folder is None:
            path = self.folder / "blobs" / algorithm
            make_private_folder(path)
            folder = self._folders[algorithm] = f"{path}{os.sep}"
        write_private(folder + value, manifest.raw)

    def _name(self, name: str, intent: Intent) -> None:
        manifest = intent.manifest
        if (name, manifest.digest) in self._named:
            return  # a resumed run records it twice
        self._named.add((name, manifest.digest))
        annotations = {REF_NAME: name, REPOSITORY: str(intent.repository), TAGS: " ".join(intent.tags)}
        self._entries.append(
            {
                "mediaType": manifest.media_type,
                "digest": manifest.digest,
                "size": len(manifest.raw),
                "annotations": annotations,
            }
        )


def write_layout(folder: Path, intents: Iterable[Intent]) -> None:
    """Write the layout of a run's `intents` under `folder`. Raises OSError."""
    layout = Layout(folder)
    layout.add(intents)
    layout.finish()


def laid_out(folder: Path, digest: Digest, media_type: str = "") -> Manifest | None:
    """A manifest of a layout; None if it is not there, or its digest does not match."""
    path = folder / "blobs" / digest.algorithm / digest.hex
    try:
        raw = path.read_bytes()
        return parse_manifest(raw, media_type, digest) if digest.matches(raw) else None
    except (OSError, ManifestError):
        return None


def laid_out_names(folder: Path) -> Iterator[tuple[Repository, tuple[Tag, ...], Manifest]]:
    """The repository, the tags and the manifest of each entry of a layout's index that can be read."""
    try:
        entries = json.loads((folder / "index.json").read_bytes())["manifests"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return
    for entry in entries if isinstance(entries, list) else ():
        try:
            named, digest = entry["annotations"], Digest.parse(entry["digest"])
            repository = Repository.parse(named[REPOSITORY])
            tags = tuple(Tag.parse(tag) for tag in named[TAGS].split())
            manifest = laid_out(folder, digest, str(entry["mediaType"]))
        except (LookupError, TypeError, AttributeError, UsageError):
            continue
        if manifest is not None:
            yield repository, tags, manifest


class LaidOutRecorder:
    """Writes a layout beside what another recorder writes, in a thread of its own: no step waits for it.

    If it cannot be written it is given up, and what was written of it is deleted, which leaves space for the journal.
    """

    def __init__(self, recorder: Recorder, folder: Path, earlier: Iterable[Intent] = ()) -> None:
        """`earlier`: the intents of the part of the run before it was resumed."""
        self._recorder = recorder
        self._layout = Layout(folder)
        self._thread = ThreadPoolExecutor(1)
        self._is_begun = self._has_failed = False
        earlier = tuple(earlier)
        if earlier:
            self._add(earlier)

    async def intend(self, *intents: Intent) -> None:
        await self._recorder.intend(*intents)
        self._thread.submit(self._add, intents)

    def outcome(self, outcome: Outcome) -> None:
        self._recorder.outcome(outcome)

    def lost(self, lost: LostTag) -> None:
        self._recorder.lost(lost)

    def between(self, repository: Repository, stays: Collection[Tag], gone: Collection[Tag]) -> None:
        self._recorder.between(repository, stays, gone)

    def looked(self, repository: Repository) -> None:
        self._recorder.looked(repository)

    def finish(self) -> None:
        """Wait until all is written, and end the layout. A run without intents has none."""
        self._thread.shutdown()
        if self._is_begun and not self._has_failed:
            try:
                self._layout.finish()
            except OSError:
                self._give_up()

    def _add(self, intents: Sequence[Intent]) -> None:
        self._is_begun = True
        if self._has_failed:
            return
        try:
            self._layout.add(intents)
        except OSError:
            self._give_up()

    def _give_up(self) -> None:
        self._has_failed = True
        shutil.rmtree(self._layout.folder, ignore_errors=True)
