"""Names for completion in a shell: repositories, tags, images, runs, registries.

    dregutil __complete KIND WORD...     the last word is the one to complete, the others are the line before it

They are read from files only: the cache, the records, the configuration. After 80 ms, or on any error, nothing is
printed. What a shell waits for at every TAB is mostly the start of Python, so nothing is imported that is slow to
import, and a cache file is searched instead of parsed.
"""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

__all__ = ["KINDS", "Line", "main"]

LONGEST = 0.08  # seconds, of the 100 ms that a TAB may take
MOST = 200  # names; of more, beginnings are printed that distinguish them
FEW = 1000  # of the names, to estimate how long the beginnings can be
_MOST_RUNS = 20
_IN_NAMES = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:[]"
_OFF = ("", "0", "false", "no", "none")
_BETWEEN_TAGS = b'", "'  # as json.dumps writes them
_REPOSITORY_END = b'": {'


class _TooLateError(Exception):
    pass


class Line:
    """The words of a command line before the one that is completed, and the environment."""

    def __init__(self, words: Sequence[str], env: Mapping[str, str], deadline: float = float("inf")) -> None:
        """`deadline`: until when to work (`time.monotonic`)."""
        self.words = words
        self.env = env
        self._deadline = deadline

    def check_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise _TooLateError

    def values(self, *names: str) -> list[str]:
        """The values of an option, given by any of its names: all words up to the next option."""
        found: list[str] = []
        is_value = False
        for word in self.words:
            name, equals, value = word.partition("=")
            if word.startswith("-") and word != "-":
                is_value = word in names
                found += [value] if equals and name in names else []
            elif is_value:
                found.append(word)
        return found

    def last(self, variable: str, *names: str) -> str:
        """The value of an option that has one, otherwise that of an environment variable, otherwise an empty text."""
        found = self.env.get(variable, "")
        for name, value in zip(self.words, self.words[1:], strict=False):
            found = value if name in names else found
        for word in self.words:
            name, equals, value = word.partition("=")
            found = value if equals and name in names else found
        return found

    def folder(self, variable: str, default: str) -> str:
        """The folder `dregutil` in one of the folders of the XDG specification."""
        return os.path.join(self.env.get(variable) or os.path.expanduser(default), "dregutil")


def main(arguments: Sequence[str]) -> None:
    """Print the names that begin with the last word."""
    line = Line(arguments[1:-1], os.environ, time.monotonic() + LONGEST)
    try:
        found = KINDS[arguments[0]](line, arguments[-1].encode())
        # Nothing else is in a name; a shell would run what a file of somebody else puts into its line.
        sys.stdout.write("".join(f"{name.decode()}\n" for name in found if not name.translate(None, _IN_NAMES)))
        sys.stdout.flush()
    except Exception:  # noqa: BLE001 - a message would appear in the middle of the line that is being typed
        sys.stderr.flush()


def _repositories(line: Line, word: bytes) -> list[bytes]:
    return _shortened(line, [name for name in _listed_repositories(_cache(line)) if name.startswith(word)], word)


def _tags(line: Line, word: bytes) -> list[bytes]:
    raw = _cache(line)
    found: list[bytes] = []
    # `ls` and `list-tag-names` take repositories as arguments; a word that is none has no tags.
    for repository in line.values("-r", "--repo") or dict.fromkeys(line.words):
        found += _listed_tags(line, raw, repository.encode(), word)
    return _shortened(line, found, word)


def _images(line: Line, word: bytes) -> list[bytes]:
    """Repositories; tags after a colon, or if only one repository is left."""
    raw = _cache(line)
    repository, colon, begun = word.partition(b":")
    if not colon:
        names = [name for name in _listed_repositories(raw) if name.startswith(word)]
        if len(names) != 1:
            return _shortened(line, names, word)
        repository = names[0]
    tags = _shortened(line, _listed_tags(line, raw, repository, begun), begun)
    return [repository + b":" + tag for tag in tags]


def _runs(line: Line, word: bytes) -> list[bytes]:
    return [name for name in _recorded(line) if name.startswith(word)][:MOST]


def _runs_or_images(line: Line, word: bytes) -> list[bytes]:
    return [*_runs(line, word), *_images(line, word)]


def _registries(line: Line, word: bytes) -> list[bytes]:
    """Those of the configuration, and of the newest runs."""
    found = dict.fromkeys(name.encode() for name in _configuration(line).get("registries", {}))
    folder = os.path.join(_state(line), "runs")
    for run in _recorded(line)[:_MOST_RUNS]:
        line.check_time()
        with open(os.path.join(folder.encode(), run, b"journal.jsonl"), "rb") as file:
            first = file.readline(4096)
        found[first.partition(b'"registry":"')[2].partition(b'"')[0]] = None
    return sorted(name for name in found if name and name.startswith(word))


KINDS: dict[str, Callable[[Line, bytes], list[bytes]]] = {
    "repositories": _repositories,
    "tags": _tags,
    "images": _images,
    "runs": _runs,
    "runs-or-images": _runs_or_images,
    "registries": _registries,
}


def _recorded(line: Line) -> list[bytes]:
    """The names of the recorded runs, the newest first."""
    try:
        return sorted(map(os.fsencode, os.listdir(os.path.join(_state(line), "runs"))), reverse=True)
    except OSError:
        return []


def _state(line: Line) -> str:
    return line.last("DREGUTIL_STATE_DIR", "--state-dir") or line.folder("XDG_STATE_HOME", "~/.local/state")


def _cache(line: Line) -> bytes:
    """The bytes of the cache file of the registry that the line names; none if there is no such file."""
    path = line.last("DOCKER_UTIL_CACHEFILE", "-c", "--cache")
    if path:
        return b"" if path.lower() in _OFF else _read(path)
    named = line.last("REGISTRY", "-reg", "--registry")
    configured = not named or not set(named) & set(".:/")
    table = _configuration(line) if configured else {}
    registry = table.get("registries", {}).get(named or table.get("default"), {})
    if isinstance(registry.get("cache"), str):
        return _read(os.path.join(_configured_folder(line), os.path.expanduser(registry["cache"])))
    name = _cache_name(registry.get("address", named))
    return _read(name) or _read(os.path.join(line.folder("XDG_CACHE_HOME", "~/.cache"), name))


def _cache_name(address: str) -> str:
    spelled = address.strip().rstrip("/").removesuffix("/v2").rstrip("/")
    name = spelled.partition("://")[2] or spelled
    return f"{name.replace('/', '_').replace('.', '_')}_cache.json"


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _configured_folder(line: Line) -> str:
    named = line.last("DREGUTIL_CONFIG", "--config")
    return os.path.dirname(named) if named else line.folder("XDG_CONFIG_HOME", "~/.config")


def _configuration(line: Line) -> dict[str, Any]:
    path = line.last("DREGUTIL_CONFIG", "--config") or os.path.join(_configured_folder(line), "config.toml")
    raw = b"" if path.lower() in _OFF else _read(path)
    if not raw:
        return {}
    import tomllib  # takes 10 ms

    return tomllib.loads(raw.decode("utf-8-sig"))


def _listed_repositories(raw: bytes) -> list[bytes]:
    """The repositories of a cache file: what stands before each object."""
    return sorted(part.rpartition(b'"')[2] for part in raw.split(_REPOSITORY_END)[:-1])


def _listed_tags(line: Line, raw: bytes, repository: bytes, word: bytes) -> list[bytes]:
    """The tags of a repository that begin with `word`, each with its digest after it."""
    line.check_time()
    start = raw.find(b'"' + repository + _REPOSITORY_END)
    if start < 0:
        return []
    start += len(repository) + len(_REPOSITORY_END) + 1
    entries = raw[start : raw.find(b"}", start)].removeprefix(b'"').split(_BETWEEN_TAGS)
    line.check_time()
    return [entry for entry in entries if entry.startswith(word)] if word else entries


def _shortened(line: Line, entries: Sequence[bytes], word: bytes) -> list[bytes]:
    """Names, sorted; if there are too many, their beginnings, as long as possible."""
    if len(entries) <= MOST:
        return _names(entries)
    few = entries[:: len(entries) // FEW + 1]  # a beginning that distinguishes too many of these is too long
    length = len(word) + 1
    while len(found := _names({entry[: length + 1] for entry in few})) <= MOST and any(len(n) > length for n in found):
        length += 1
    while length > len(word):
        line.check_time()
        found = _names({entry[:length] for entry in entries})
        if len(found) <= MOST:
            return found
        length -= 1
    return []


def _names(entries: Iterable[bytes]) -> list[bytes]:
    return sorted(filter(None, (entry.partition(b'"')[0] for entry in entries)))
