"""Completion of names in bash, zsh and fish: from the cache, the records, the configuration; quickly, or not at all."""

from __future__ import annotations

import json
import os
import pty
import re
import resource
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil import complete
from dregutil.cli.options.after import SHELLS
from dregutil.cli.settings import cache_file_name
from dregutil.complete import KINDS, MOST, Line
from dregutil.oci.names import RegistryAddress
from images import Pusher
from program import PROGRAM, Program
from servers.memory import MemoryServer

HOST = "registry.example.com"
DIGEST = f"sha256:{'0' * 64}"
TAGS = {
    "shop/web": ["1.0", "1.1", "2.0", "latest"],
    "shop/worker": ["1.0"],
    "base/images": ["12"],
    "no-tags": [],
}
CONFIG = (
    f'default = "prod"\n[registries.prod]\naddress = "https://{HOST}"\n[registries.stage]\naddress = "other:5000"\n'
)
CONFIG_HOME = "XDG_CONFIG_HOME"


def write_cache(path: Path, tags: Mapping[str, list[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({name: dict.fromkeys(some, DIGEST) for name, some in tags.items()}))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a cache, a configuration and a run."""
    monkeypatch.chdir(tmp_path)
    for name in ("REGISTRY", "DOCKER_UTIL_CACHEFILE", "DREGUTIL_STATE_DIR", "DREGUTIL_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PATH", f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}")
    write_cache(tmp_path / "registry_example_com_cache.json", TAGS)
    return tmp_path


def completed(kind: str, *words: str, env: Mapping[str, str] = os.environ) -> list[str]:
    *before, last = words
    return [name.decode() for name in KINDS[kind](Line(before, env), last.encode())]


@pytest.mark.parametrize(
    ("kind", "words", "names"),
    [
        ("repositories", ("query-tags", "-r", ""), ["base/images", "no-tags", "shop/web", "shop/worker"]),
        ("repositories", ("query-tags", "-r", "shop/we"), ["shop/web"]),
        ("tags", ("query-tags", "-r", "shop/web", "-t", "1"), ["1.0", "1.1"]),
        ("tags", ("query-tags", "-r", "shop/web", "base/images", "-t", "1"), ["1.0", "1.1", "12"]),
        ("tags", ("query-tags", "--repo=shop/worker", "-x", ""), ["1.0"]),
        ("tags", ("query-tags", "-r", "shop/web", "-t", "s"), []),  # not the digests
        ("tags", ("query-tags", "-r", "no-tags", "shop", "-t", ""), []),
        ("tags", ("ls", "shop/worker", "-t", ""), ["1.0"]),
        ("images", ("inspect", "shop/"), ["shop/web", "shop/worker"]),
        ("images", ("inspect", "shop/web:1"), ["shop/web:1.0", "shop/web:1.1"]),
        ("images", ("inspect", "ba"), ["base/images:12"]),
    ],
)
def test_names_from_the_cache(folder: Path, kind: str, words: tuple[str, ...], names: list[str]) -> None:
    assert completed(kind, "-reg", HOST, *words) == names
    assert completed(kind, f"--registry=https://{HOST}/", *words) == names
    assert completed(kind, *words, env={**os.environ, "REGISTRY": f"http://{HOST}"}) == names
    assert completed(kind, "-c", "registry_example_com_cache.json", *words) == names
    assert completed(kind, "-reg", HOST, "-c", "None", *words) == []
    assert completed(kind, "-reg", "other", *words) == []


def test_names_of_a_configured_registry(folder: Path) -> None:
    (folder / "config" / "dregutil").mkdir(parents=True)
    (folder / "config" / "dregutil" / "config.toml").write_text(CONFIG)
    assert completed("repositories", "ls", "shop/we") == ["shop/web"]
    assert completed("repositories", "-reg", "prod", "ls", "shop/we") == ["shop/web"]
    assert completed("repositories", "-reg", "stage", "ls", "") == []
    write_cache(folder / "cache" / "dregutil" / "other:5000_cache.json".replace("/", "_"), {"of/stage": ["1"]})
    assert completed("repositories", "-reg", "stage", "ls", "") == ["of/stage"]
    assert completed("registries", "-reg", "p") == ["prod"]
    assert completed("registries", "-reg", "") == ["prod", "stage"]


@pytest.mark.parametrize(
    "address", [HOST, f"https://{HOST}/", f"http://{HOST}:80", "localhost:5000", "h/prefix/v2/", "[::1]:5000", "H.x"]
)
def test_the_name_of_the_cache_file(address: str) -> None:
    assert complete._cache_name(address) == cache_file_name(RegistryAddress.parse(address))


def test_runs_and_their_registries(folder: Path) -> None:
    with MemoryServer() as registry:
        with Pusher(registry.url) as pusher:
            pusher.push_image("shop/web", "1.0", seed="one")
            pusher.push_image("shop/web", "1.1", seed="two")
        program = Program(registry.url, folder)
        assert program.run("remove-tags", "-r", "shop/web", "-t", "1.0").returncode == 0
    (run,) = program.runs
    state = ("--state-dir", str(program.state))
    assert completed("runs", *state, "undo", "20") == [run.name]
    assert completed("runs", *state, "undo", "x") == []
    assert completed("runs-or-images", *state, "-reg", HOST, "undo", "shop/we") == [
        f"shop/web:{tag}" for tag in TAGS["shop/web"]
    ]
    assert completed("registries", *state, "-reg", "") == [registry.url.partition("://")[2]]
    assert completed("runs", "undo", "") == []


@given(st.sets(st.text("ab1.-", min_size=1, max_size=8), max_size=400), st.text("ab1", max_size=2))
def test_of_too_many_names_beginnings_are_shown(names: set[str], word: str) -> None:
    """What a shell inserts is what all of them begin with, so that has to be what all names begin with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(complete, "MOST", 20)
        patch.setattr(complete, "FEW", 30)
        matching = sorted(name for name in names if name.startswith(word))
        entries = [f'{name}": "{DIGEST}'.encode() for name in matching]
        found = [name.decode() for name in complete._shortened(Line([], {}), entries, word.encode())]
    assert len(found) <= 20
    assert all(any(name.startswith(beginning) for name in matching) for beginning in found)
    if found:
        assert all(any(name.startswith(beginning) for beginning in found) for name in matching)
        assert common(found) == common(matching) or len(found) == 1


def test_beginnings_are_few_where_most_names_differ_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every fourth name, by which the length is estimated, differs from its like only at the end."""
    monkeypatch.setattr(complete, "MOST", 20)
    monkeypatch.setattr(complete, "FEW", 30)
    entries = [(f"x{number:07}" if number % 4 == 0 else f"{number:02}aaaaaa").encode() for number in range(90)]
    found = complete._shortened(Line([], {}), entries, b"")
    assert 1 < len(found) <= 20
    assert all(entry.startswith(tuple(found)) for entry in entries)


def common(names: list[str]) -> str:
    """The longest beginning that all names have."""
    first, last = min(names), max(names)
    same = (length for length in range(len(first), 0, -1) if last.startswith(first[:length]))
    return first[: next(same, 0)]


def ask(*words: str, env: Mapping[str, str] = os.environ) -> subprocess.CompletedProcess[str]:
    command = [str(PROGRAM), "__complete", *words]
    return subprocess.run(command, env=dict(env), capture_output=True, text=True, check=False, timeout=60)


def patiently(ask: Callable[[], str], expected: str) -> str:
    """The answer. On a busy machine 80 ms may pass before there is one: then the shell is left alone."""
    found = ""
    for _ in range(20):
        found = ask()
        if expected in found:
            break
    return found


@pytest.mark.parametrize("damage", ["", "{", '{"shop/web": 3}', "null", "[]", '{"shop/web": {"1.0": '])
def test_what_cannot_be_read_is_silence(folder: Path, damage: str) -> None:
    (folder / "registry_example_com_cache.json").write_text(damage)
    for kind in KINDS:
        found = ask(kind, "-reg", HOST, "query-tags", "-r", "shop/web", "zz")
        assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
    (folder / "config" / "dregutil").mkdir(parents=True)
    (folder / "config" / "dregutil" / "config.toml").write_text("default = [")
    found = ask("registries", "-reg", "")
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


def test_only_names_are_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A shell would run, or show, what a damaged cache puts into its line."""
    tags = ["1.0", "$(touch x)", "`id`", "1;id", "1\x1b[2J", "1 2", "é"]
    (folder / "registry_example_com_cache.json").write_text(
        json.dumps({"shop/web": dict.fromkeys(tags, DIGEST)}, ensure_ascii=False)
    )
    complete.main(["tags", "-reg", HOST, "-r", "shop/web", "-t", ""])
    assert capsys.readouterr().out == "1.0\n"


def test_after_its_time_it_is_silent(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(complete, "LONGEST", -1.0)
        complete.main(["tags", "-reg", HOST, "-r", "shop/web", "-t", "1"])
    assert capsys.readouterr() == ("", "")


def test_it_imports_next_to_nothing_and_is_quick_with_100_000_tags(folder: Path) -> None:
    """CPU time: how long a shell waits also depends on what else the machine does."""
    many = {"shop/web": [f"1.{number // 1000}.{number % 1000}" for number in range(100_000)]}
    write_cache(folder / "registry_example_com_cache.json", many)
    code = (
        "import sys; before = set(sys.modules); import dregutil.__main__ as program; sys.argv[1:] = sys.argv[2:]; "
        "program.main(); print(*{name.partition('.')[0] for name in set(sys.modules) - before}, file=sys.stderr)"
    )
    words = ["__complete", "tags", "-reg", HOST, "query-tags", "-r", "shop/web", "-t"]
    found = subprocess.run([sys.executable, "-c", code, "x", *words, "1.5"], capture_output=True, text=True, check=True)
    assert set(found.stderr.split()) <= {"dregutil", "__future__"}
    for begun in ("", "1", "1.5"):
        assert min(_cpu([str(PROGRAM), *words, begun]) for _ in range(8)) < 0.1
        assert 1 < len(completed("tags", "-reg", HOST, "-r", "shop/web", "-t", begun)) <= MOST


def _cpu(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


IN_SHELLS = [
    (f"dregutil -reg {HOST} query-tags -r shop/we", "shop/web"),
    (f"dregutil -reg {HOST} query-tags -r shop/web -t la", "latest"),
    (f"dregutil -reg {HOST} inspect shop/web:la", "latest"),
    (f"dregutil -reg {HOST} list-tag-names base", "base/images"),
    ("dregutil inspe", "inspect"),
    ("dregutil help remove-t", "remove-tags"),
]


def script(shell: str, folder: Path) -> Path:
    path = folder / SHELLS[shell]
    path.write_text(subprocess.run([PROGRAM, "completion", shell], capture_output=True, text=True, check=True).stdout)
    return path


@pytest.mark.parametrize(("typed", "expected"), IN_SHELLS)
def test_bash_completes_names(folder: Path, typed: str, expected: str) -> None:
    source = script("bash", folder)

    def ask() -> str:
        code = f'source {source}; COMP_LINE="{typed}"; COMP_POINT=${{#COMP_LINE}}; _dregutil; echo "${{COMPREPLY[@]}}"'
        return subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=False).stdout

    assert patiently(ask, expected).split() == [expected]


@pytest.mark.parametrize(("typed", "expected"), IN_SHELLS)
def test_fish_completes_names(folder: Path, typed: str, expected: str) -> None:
    fish = shutil.which("fish")
    if fish is None:
        pytest.skip("fish is not installed")
    source = script("fish", folder)
    environment = {**os.environ, "HOME": str(folder)}

    def ask() -> str:
        command = [fish, "-c", f'source {source}; complete -C "{typed}"']
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment).stdout

    found = [line.partition("\t")[0] for line in patiently(ask, expected).splitlines()]
    assert found in ([expected], [f"shop/web:{expected}"])


def test_zsh_completes_names(folder: Path) -> None:
    zsh = shutil.which("zsh")
    if zsh is None:
        pytest.skip("zsh is not installed")
    script("zsh", folder)
    start = [f"fpath=({folder} $fpath)", "autoload -U compinit; compinit -u -D", "PS1=READY"]
    root = Path(zsh).parents[1]
    if not root.is_relative_to("/usr") and root != Path("/"):  # unpacked, so it does not find its own files
        root = root.parent if root.name == "usr" else root
        functions = [str(path) for path in root.glob("usr/share/zsh/functions/**/") if path.is_dir()]
        modules = [str(path) for path in root.glob("usr/lib/*/zsh/*.*")]
        start[0] = f"module_path=({' '.join(modules)}); fpath=({folder} {' '.join(functions)})"
    (folder / ".zshrc").write_text("\n".join([*start, ""]))
    with Terminal([zsh, "-d", "-i"], {**os.environ, "ZDOTDIR": str(folder), "TERM": "dumb"}) as terminal:
        terminal.wait_for("READY")
        for typed, expected in IN_SHELLS:
            beginning = typed.rpartition(" ")[2].rpartition(":")[2]
            assert terminal.completes(typed, expected.removeprefix(beginning)), terminal.shown


class Terminal:
    """A shell on a new terminal."""

    def __init__(self, command: list[str], env: Mapping[str, str]) -> None:
        leader, follower = pty.openpty()
        self._leader = leader
        self._process = subprocess.Popen(
            command, env=dict(env), stdin=follower, stdout=follower, stderr=follower, start_new_session=True
        )
        os.close(follower)
        self.shown = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._leader)

    def completes(self, typed: str, rest: str) -> bool:
        """Whether a TAB after `typed` appends `rest`. It is pressed again if nothing came: the machine may be busy."""
        self.shown = ""
        os.write(self._leader, b"\x15" + typed.encode() + b"\t")
        for _ in range(20):
            if self.wait_for(typed + rest, seconds=2.0):
                return True
            os.write(self._leader, b"\t")
        return False

    def wait_for(self, text: str, seconds: float = 20.0) -> bool:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if text in re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]|[\r\x07]|.\x08", "", self.shown):
                return True
            if select.select([self._leader], [], [], 0.1)[0]:
                self.shown += os.read(self._leader, 65536).decode(errors="replace")
        return False
