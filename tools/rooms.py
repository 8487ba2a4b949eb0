"""Which rooms of the package a command uses, and how often the flow moves from one room to another.

    python tools/rooms.py                       # the table, for each command of COMMANDS
    python tools/rooms.py --calls removal       # with each call between rooms, for one command
    python tools/rooms.py --before OTHER/src    # compared with another tree, by the same count

Each command runs in this process (`dregutil.cli.run`) under a profiler, on its own registry (Debian's docker-registry
if installed, otherwise the one in memory) and with empty caches. It counts what runs, not what is imported:

* A room is the first package below `dregutil`, or a module beside the packages; with `--by module` each module is one.
  A command begins in `cli`, and enters a room with the first call of one of its functions from another.
* The caller is the nearest function of the package on the stack; for the coroutine of a task, the function that created
  the task.
* A move is a pair of rooms, FROM -> TO, regardless of the number of calls. A call is a pair of functions, counted once.
* A call into a room that the caller's room does not import is a call-back: a closure, a generator or an object that was
  passed down. Call-backs are counted separately, as pairs of rooms; they are not moves.
* Methods of values, and what they call, are not counted: of a frozen dataclass, named tuple, enum, exception,
  subclass of `str`, and of the `Inventory`, a mapping of tags. The flow carries a value along; it does not move to the
  room of its class.
* `errors`, `files` and `oci` hold the words of all rooms (errors, names, manifests, files): no flow goes through them.
  They, and the modules of an older tree that became them, are counted with `--words` only.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import contextlib
import dataclasses
import enum
import importlib
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from images import Pusher, created  # noqa: E402 - the path is set above
from servers import DistributionServer, find_program  # noqa: E402
from servers.memory import MemoryServer  # noqa: E402

POLICY = """version: 1
policies:
  - name: releases
    repositories: ["shop/**"]
    select: {version: ">=1.0"}
    keep: {last: 2}
    max_remove: 70%
"""
REMOVAL = ("remove-tags", "-r", "shop/web", "-t", "<1.2", "-y")
COMMANDS: dict[str, list[tuple[str, ...]]] = {
    "cleanup": [("cleanup", "-f", "policy.yml", "-y")],
    "removal": [REMOVAL],
    "undo": [REMOVAL, ("undo", "-y")],
    "du": [("du",)],
}  # the last line of each is traced
WORDS = frozenset({"errors", "files", "oci"}) | {
    "bounded_reading",
    "details",
    "escaping",
    "folders",
    "go_json",
    "graph",
    "manifest",
    "private",
    "reference",
}
_LOOP = asyncio.base_events.__file__
_IS_FUNCTION = 1  # CO_OPTIMIZED: the body of a class or a module has no such flag


@dataclass
class Trace:
    """The calls between functions of the package below `base`, in the order of their first occurrence."""

    base: str
    calls: dict[tuple[CodeType, CodeType], None] = field(default_factory=dict)
    _makers: dict[FrameType, CodeType | None] = field(default_factory=dict)  # of the frames of tasks' coroutines

    @contextlib.contextmanager
    def on(self) -> Iterator[None]:
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    def module(self, code: CodeType) -> str:
        """A function's module below the package: `inventory.contents.read`."""
        path = code.co_filename[len(self.base) : -len(".py")]
        return path.removesuffix(f"{os.sep}__init__").replace(os.sep, ".")

    def name(self, code: CodeType) -> str:
        return f"{self.module(code)}:{code.co_qualname}"

    def _profile(self, frame: FrameType, event: str, _argument: object) -> None:
        if event != "call":
            return
        code = frame.f_code
        if code.co_name == "create_task" and code.co_filename == _LOOP:
            made = getattr(frame.f_locals.get("coro"), "cr_frame", None)
            if made is not None:
                self._makers[made] = self._caller(frame)
        elif self._is_ours(code) and code.co_flags & _IS_FUNCTION and not _is_of_value(frame):
            caller = self._caller(frame)
            if caller is not None:
                self.calls[caller, code] = None

    def _caller(self, frame: FrameType) -> CodeType | None:
        """The function that called `frame`; None for what an event loop, an import or a value calls."""
        while frame not in self._makers:
            below = frame.f_back
            if below is None or _is_loop(below) or below.f_code.co_filename.startswith("<frozen importlib"):
                return None
            frame = below
            if self._is_ours(frame.f_code):
                is_counted = frame.f_code.co_flags & _IS_FUNCTION and not _is_of_value(frame)
                return frame.f_code if is_counted else None
        return self._makers[frame]

    def _is_ours(self, code: CodeType) -> bool:
        return code.co_filename.startswith(self.base)


def _is_loop(frame: FrameType) -> bool:
    return frame.f_code.co_name == "_run_once" and frame.f_code.co_filename == _LOOP


def _is_of_value(frame: FrameType) -> bool:
    code = frame.f_code
    if not code.co_argcount or code.co_varnames[0] not in ("self", "cls"):
        return False
    owner = frame.f_locals.get(code.co_varnames[0])
    kind = owner if isinstance(owner, type) else type(owner)
    if kind.__name__ == "Inventory":
        return True
    if dataclasses.is_dataclass(kind):
        return bool(kind.__dataclass_params__.frozen)  # type: ignore[attr-defined]
    return issubclass(kind, str | tuple | enum.Enum | BaseException)


@dataclass
class Count:
    """The calls between rooms, by move and by call-back."""

    moves: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    callbacks: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))

    @property
    def rooms(self) -> set[str]:
        return {room for move in self.moves for room in move}


def count(trace: Trace, room: Callable[[str], str], *, words: bool) -> Count:
    """`room` gives the room of a module; `words`: those that hold only words count, too."""
    imported = {(room(module), room(other)) for module, other in imports(Path(trace.base))}
    found = Count()
    for caller, callee in trace.calls:
        move = (room(trace.module(caller)), room(trace.module(callee)))
        if move[0] != move[1] and (words or WORDS.isdisjoint(map(first_part, map(trace.module, (caller, callee))))):
            kind = found.moves if move in imported else found.callbacks
            kind[move].append(f"{trace.name(caller)} -> {trace.name(callee)}")
    return found


def imports(package: Path) -> Iterator[tuple[str, str]]:
    """Pairs of a module and one that it imports, anywhere in its text."""
    for path in package.rglob("*.py"):
        module = ".".join(path.relative_to(package).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            else:
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                if name.startswith(f"{package.name}."):
                    yield module, name.removeprefix(f"{package.name}.")


def first_part(module: str) -> str:
    return module.partition(".")[0]


def fill(url: str) -> None:
    """Push five versions, one of them an index with a signature, and a second repository."""
    with Pusher(url) as pusher:
        for days, version in enumerate(("2.0", "1.2", "1.1", "1.0"), start=90):
            pusher.push_image("shop/web", version, seed=version, config=created(days))
        children = [
            {
                **pusher.push_image("shop/web", seed=name, config=created(100)),
                "platform": {"os": "linux", "architecture": name},
            }
            for name in ("amd64", "arm64")
        ]
        index = pusher.push_index("shop/web", "1.1.1", children=children)
        pusher.push_image("shop/web", f"sha256-{index['digest'][7:]}.sig", seed="signature")
        pusher.push_image("shop/api", "1.0", "latest", seed="api")


@contextlib.contextmanager
def registry(folder: Path) -> Iterator[str]:
    try:
        find_program("docker-registry", "registry")
    except FileNotFoundError:
        with MemoryServer() as memory:
            yield memory.url
        return
    with DistributionServer(folder / "registry") as server:
        yield server.url


def traced(source: Path, lines: Sequence[Sequence[str]]) -> Trace:
    """Run the command lines one after the other on a new registry, and return the trace of the last one."""
    run = importlib.import_module("dregutil.cli").run
    trace = Trace(f"{source}{os.sep}dregutil{os.sep}")
    with tempfile.TemporaryDirectory(prefix="dregutil-rooms-") as name, registry(Path(name)) as url:
        fill(url)
        Path(name, "policy.yml").write_text(POLICY)
        for variable in [known for known in os.environ if known.startswith(("REGISTRY", "DREGUTIL", "DOCKER"))]:
            del os.environ[variable]
        os.environ.update(HOME=name, XDG_CACHE_HOME=f"{name}/cache", XDG_STATE_HOME=f"{name}/state")
        for line in lines:
            told = io.StringIO()
            with contextlib.ExitStack() as stack:
                stack.enter_context(contextlib.chdir(name))
                stack.enter_context(contextlib.redirect_stdout(told))
                stack.enter_context(contextlib.redirect_stderr(told))
                if line is lines[-1]:
                    stack.enter_context(trace.on())
                code = run(["-reg", url, *line])
            if code:
                sys.exit(f"dregutil {' '.join(line)} ended with {code}:\n{told.getvalue()}")
    return trace


Figures = dict[str, dict[str, int]]


def measured(
    source: Path, commands: Sequence[str], *, by: str, calls: bool, words: bool
) -> tuple[Figures, dict[str, set[str]]]:
    """The figures and the rooms of each command; `calls`: each call between rooms is printed."""
    sys.path.insert(0, str(source))
    figures: Figures = {}
    rooms = {}
    for command in commands:
        trace = traced(source, COMMANDS[command])
        found = count(trace, str if by == "module" else first_part, words=words)
        rooms[command] = found.rooms
        figures[command] = {
            f"{by}s": len(found.rooms),
            "moves": len(found.moves),
            "calls": sum(map(len, found.moves.values())),
            "call-backs": len(found.callbacks),
        }
        for kind, pairs in (("", found.moves), (" (call-back)", found.callbacks)) if calls else ():
            for pair, lines in sorted(pairs.items()):
                print(f"{command}: {' -> '.join(pair)}{kind}", *lines, sep="\n    ")
    return figures, rooms


def compared(before: Figures, now: Figures) -> Iterator[str]:
    """The rows of a table in Markdown."""
    names = [name for name in next(iter(now.values())) if name != "call-backs"]
    yield f"| | {' | '.join(f'{name} before | now' for name in names)} |"
    yield "|---" * (1 + 2 * len(names)) + "|"
    for command, figures in now.items():
        cells = (f"{before[command][name]} | {figures[name]}" for name in names)
        yield f"| `{COMMANDS[command][-1][0]}` | {' | '.join(cells)} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--source", type=Path, default=ROOT / "src", help="the folder that holds the package")
    parser.add_argument("--before", type=Path, metavar="SOURCE", help="compare with another tree, in Markdown")
    parser.add_argument("--by", choices=("room", "module"), default="room")
    parser.add_argument("--calls", action="store_true", help="list each call between rooms")
    parser.add_argument("--words", action="store_true", help="count errors, files and oci, too")
    parser.add_argument("--json", action="store_true", help="the figures alone, as JSON")
    parser.add_argument("commands", nargs="*", metavar="COMMAND", help=f"of {', '.join(COMMANDS)}; all by default")
    args = parser.parse_args()
    if unknown := [name for name in args.commands if name not in COMMANDS]:
        parser.error(f"no such command: {', '.join(unknown)}")
    commands = args.commands or list(COMMANDS)
    figures, rooms = measured(args.source.resolve(), commands, by=args.by, calls=args.calls, words=args.words)
    if args.json:
        print(json.dumps(figures))
    elif args.before is not None:
        # In another process: this one has imported its own tree.
        line = [sys.executable, __file__, "--json", "--by", args.by, "--source", str(args.before.resolve()), *commands]
        line += ["--words"] if args.words else []
        before = json.loads(subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True).stdout)
        print(*compared(before, figures), sep="\n")
    else:
        print(" " * 10 + "".join(f"{name:>11}" for name in next(iter(figures.values()))))
        for command, found in figures.items():
            names = "  " + " ".join(sorted(rooms[command])) if args.by == "room" else ""
            print(f"{command:10}{''.join(f'{number:11}' for number in found.values())}{names}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
