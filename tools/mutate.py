"""`python tools/mutate.py [MODULE ...] [--sample N] [--seed S] [-j N] [--list]`: mutation tests.

Each mutant is one small change to a module that makes decisions (`<` for `<=`, `any` for `all`, a condition dropped),
written to a copy of the package in a temporary folder. Then the tests that call the changed function run, in a separate
process, until the first fails: examples first, properties last and with few examples, always the same ones. TESTS lists
the test files for each module; a run without a mutant finds which of their tests call which function. A survivor is
either explained in `tools/mutants.txt`, or a test is missing. Only tests without a server are listed: they kill a
mutant in about a second.

Exits with 1 if less than 90 % of a module's mutants are killed, not counting the explained ones.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, TypeAlias

ROOT = Path(__file__).parents[1]
EXPLAINED = ROOT / "tools" / "mutants.txt"
ENOUGH = 0.9
LONGEST = 60.0  # seconds per mutant, or four times as long as the tests take without one
_VERSIONS = ("test_version.py", "test_tag_conventions.py", "test_tags_of_2_0_0.py")
_RETENTION = (
    "test_retention_parts.py",
    "test_judging.py",
    "test_keep_rules.py",
    "test_retention.py",
    "test_tag_conventions.py",
    "test_retention_properties.py",
)
_PLANS = ("test_settle.py", "test_plan.py", "test_plan_parts.py", "test_accessory_names.py")
# The tests for each module, the fastest first.
TESTS = {
    "select/version": _VERSIONS,
    "select/selector": ("test_tag_selectors.py", "test_tag_conventions.py", "test_version.py"),
    "select/selection": ("test_shared_digests.py",),
    "oci/graph": _PLANS,
    "plan/model": ("test_plan_parts.py", "test_plan.py", "test_planfile.py"),
    "plan/make": _PLANS,
    "plan/recheck": ("test_recheck.py",),
    "plan/brake": ("test_brake.py",),
    "inventory/untagged": ("test_untagged_roots.py", "test_untagged_properties.py"),
    "oci/go_json": ("test_go_json.py",),
    "oci/placeholder": ("test_placeholder_parts.py",),
    "storage/garbage_collector": (
        "test_collector.py",
        "test_links_to_nothing.py",
        "test_reclaim.py",
        "test_reclaim_edges.py",
    ),
    "plan/reclaim": ("test_reclaim_edges.py", "test_reclaim.py", "test_collector.py"),
    "retention/policyfile/objects": ("test_policy_objects.py",),
    "retention/explain": ("test_explain_parts.py", "test_keep_rules.py"),
    **{
        f"retention/{name}": _RETENTION
        for name in ("dates", "follow", "judge", "keep", "late", "policy", "select", "verdict")
    },
}
# Imported by every test and therefore loaded once: each mutant's process is a fork.
_PRELOADED = ("pytest", "hypothesis", "hypothesis.strategies", "aiohttp", "aiohttp.web", "msgspec", "yaml", "sqlite3")

_SETTINGS = """[pytest]
pythonpath = {folders}
markers = property: holds for any input
"""

_COMPARED = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_COMPUTED = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
_CALLED = {"any": "all", "all": "any", "min": "max", "max": "min"}


@dataclass(frozen=True)
class Mutant:
    """One change to a module. `key` identifies it by module, function and change, but not by its line."""

    module: str
    function: str
    change: str
    line: int
    number: int
    lines: tuple[int, int]  # of its function, decorators too; (0, 0) outside of functions

    @property
    def key(self) -> str:
        return f"{self.module} | {self.function} | {self.change}"


class _Mutator(ast.NodeTransformer):
    """Counts the possible changes to a tree, and makes the wanted one."""

    def __init__(self, module: str, wanted: int | None = None) -> None:
        self.module = module
        self.wanted = wanted
        self.found: list[Mutant] = []
        self._path: list[str] = []
        self._lines: list[tuple[int, int]] = [(0, 0)]
        self._seen: Counter[tuple[str, str]] = Counter()

    def _may(self, node: ast.AST, before: ast.AST | str, after: ast.AST | str) -> bool:
        """Note a change; return whether it is the one to make."""
        was, becomes = (part if isinstance(part, str) else ast.unparse(part) for part in (before, after))
        change = f"{was[:90]} -> {becomes[:90]}"
        function = ".".join(self._path)
        self._seen[function, change] += 1
        again = self._seen[function, change]
        change = change if again == 1 else f"{change} ({again})"
        line = getattr(node, "lineno", 0)
        self.found.append(Mutant(self.module, function, change, line, len(self.found), self._lines[-1]))
        return self.found[-1].number == self.wanted

    def _inside(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> ast.AST:
        self._path.append(node.name)
        if not isinstance(node, ast.ClassDef):
            first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            self._lines.append((first, node.end_lineno or first))
        node.body = self.statements(node.body)
        self._path.pop()
        if not isinstance(node, ast.ClassDef):
            self._lines.pop()
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:  # names of ast
        return self._inside(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._inside(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._inside(node)

    def statements(self, body: list[ast.stmt]) -> list[ast.stmt]:
        is_documented = isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
        return body[:is_documented] + [self.visit(statement) for statement in body[is_documented:]]

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        if isinstance(node.value, ast.Call) and self._may(node, node, "pass"):
            return ast.Pass()
        return self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        if self._may(node, node, "pass"):
            return ast.Pass()
        return self.generic_visit(node)

    def visit_Continue(self, node: ast.Continue) -> ast.AST:
        return ast.Break() if self._may(node, "continue", "break") else node

    def visit_Break(self, node: ast.Break) -> ast.AST:
        return ast.Continue() if self._may(node, "break", "continue") else node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        for place, operator in enumerate(node.ops):
            other = _COMPARED.get(type(operator))
            if other is not None:
                changed = copy.deepcopy(node)
                changed.ops[place] = other()
                if self._may(node, node, changed):
                    return changed
        return self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        changed = copy.deepcopy(node)
        changed.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        if self._may(node, node, changed):
            return changed
        for place in range(len(node.values)):
            rest = [copy.deepcopy(value) for other, value in enumerate(node.values) if other != place]
            less = rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
            if self._may(node, node, less):
                return less
        return self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        other = _COMPUTED.get(type(node.op))
        if other is not None and not isinstance(node.right, ast.Constant | ast.JoinedStr):
            changed = ast.BinOp(copy.deepcopy(node.left), other(), copy.deepcopy(node.right))
            if self._may(node, node, changed):
                return changed
        return self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        if isinstance(node.op, ast.Not) and self._may(node, node, node.operand):
            return node.operand
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Name) and node.func.id in _CALLED:
            changed = copy.deepcopy(node)
            changed.func = ast.Name(_CALLED[node.func.id], ast.Load())
            if self._may(node, node, changed):
                return changed
        return self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        if self._may(node, node, node.body):
            return node.body
        if self._may(node, node, node.orelse):
            return node.orelse
        return self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        for condition in node.ifs:
            if self._may(node.target, f"for … if {ast.unparse(condition)}", "for …"):
                node.ifs = [other for other in node.ifs if other is not condition]
                return node
        return self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, bool):
            changed = ast.Constant(not node.value)
        elif isinstance(node.value, int):
            changed = ast.Constant(node.value + 1)
        else:
            return node
        return changed if self._may(node, f"{node.value}", changed) else node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:  # sentences are for other tests
        return node


def mutants_of(module: str, source: str) -> list[Mutant]:
    """All possible changes to a module, in the order of its source."""
    mutator = _Mutator(module)
    mutator.statements(ast.parse(source).body)
    return mutator.found


def mutated(mutant: Mutant, source: str) -> str:
    """The source of the module with that change."""
    tree = ast.parse(source)
    tree.body = _Mutator(mutant.module, mutant.number).statements(tree.body)
    return ast.unparse(ast.fix_missing_locations(tree))


# Test files, with a pytest plugin that selects from them.
Stage: TypeAlias = tuple[Sequence[str], object]


class Runner:
    """Runs tests against copies of the package, several at a time, each in a fork."""

    def __init__(self, jobs: int, folder: Path) -> None:
        self.jobs = jobs
        self.folder = folder
        self._free = [folder / f"copy-{number}" for number in range(jobs)]
        self._running: dict[int, tuple[Path, Mutant | None, float, float]] = {}
        self._stamp = 1_000_000_000
        bare = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "tests", folder / "tests", ignore=bare)
        shutil.copytree(ROOT / "docs", folder / "docs", ignore=bare)
        folders = sorted({str(path.parent.relative_to(ROOT)) for path in (ROOT / "tests").rglob("*.py")})
        (folder / "pytest.ini").write_text(_SETTINGS.format(folders=" ".join(folders)))
        self.source = folder / "src" / "dregutil"  # as it was when the command began, regardless of later edits
        for place in (folder / "src", *self._free):
            shutil.copytree(ROOT / "src" / "dregutil", place / "dregutil", ignore=bare)

    def start(self, stages: Sequence[Stage], mutant: Mutant | None, limit: float) -> None:
        place = self._free.pop()
        if mutant is not None:
            path = place / "dregutil" / f"{mutant.module}.py"
            path.write_text(mutated(mutant, (self.source / f"{mutant.module}.py").read_text()))
            self._stamp += 2  # a cached .pyc is known by its source's time and size
            os.utime(path, (self._stamp, self._stamp))
        child = os.fork()
        if child == 0:
            _test(place, stages, self.folder)
        self._running[child] = (place, mutant, time.monotonic(), limit)

    def finish_one(self) -> tuple[Mutant | None, bool, float]:
        """Wait until one ends or runs out of time; return its mutant, whether a test failed, and the seconds."""
        while True:
            child, status = os.waitpid(-1, os.WNOHANG)
            now = time.monotonic()
            if child:
                place, mutant, began, _ = self._running.pop(child)
                if mutant is not None:
                    path = f"{mutant.module}.py"
                    shutil.copy2(self.source / path, place / "dregutil" / path)
                self._free.append(place)
                return mutant, status != 0, now - began
            for other, (_, _, began, limit) in self._running.items():
                if now - began > limit:
                    os.killpg(other, signal.SIGKILL)
            time.sleep(0.02)

    @property
    def is_busy(self) -> bool:
        return bool(self._running)

    @property
    def is_full(self) -> bool:
        return not self._free


class _Only:
    """A pytest plugin: selects the tests in `wanted` (None: all), and of those only the properties, or only the
    others."""

    def __init__(self, wanted: frozenset[str] | None, *, properties: bool) -> None:
        self.wanted = wanted
        self.properties = properties

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = [
            item
            for item in items
            if (self.wanted is None or item.nodeid in self.wanted)
            and hasattr(item.obj, "hypothesis") is self.properties
        ]


class _Callers:
    """Records which tests call which code of the package: by module, and by the first line of the code."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.found: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        def called(frame: FrameType, *_: object) -> None:
            _, inside, module = frame.f_code.co_filename.rpartition("/dregutil/")
            if inside:
                self.found[module.removesuffix(".py")][frame.f_code.co_firstlineno].add(nodeid)

        sys.settrace(called)

    def pytest_runtest_logfinish(self) -> None:
        sys.settrace(None)

    def pytest_sessionfinish(self) -> None:
        found = {module: {line: sorted(tests) for line, tests in lines.items()} for module, lines in self.found.items()}
        self.out.write_text(json.dumps(found))


def callers_of(mutant: Mutant, found: Mapping[int, frozenset[str]]) -> frozenset[str] | None:
    """The tests that call the function of a mutant; None (all) if the changed code runs when the module is loaded."""
    first, last = mutant.lines
    if not last:
        return None
    return frozenset().union(*(tests for line, tests in found.items() if first <= line <= last))


def stages_of(tests: Sequence[str], wanted: frozenset[str] | None) -> list[Stage]:
    """The order in which the tests run: file by file, with all properties last, and without files that have no wanted
    test.

    Most mutants are killed by the first file, and then the others are not loaded.
    """
    files = [test for test in tests if wanted is None or any(one.startswith(f"{test}::") for one in wanted)]
    stages: list[Stage] = [([test], _Only(wanted, properties=False)) for test in files]
    return [*stages, (files, _Only(wanted, properties=True))] if files else []


def _test(place: Path, stages: Sequence[Stage], folder: Path) -> None:
    """Run tests against the copy in `place`, and exit this process: with 0 if all of them pass."""
    code = 99
    try:
        os.setpgid(0, 0)
        out = os.open(folder / f"{place.name}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.path.insert(0, str(place))
        sys.pycache_prefix = str(folder / "pycache")
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(folder / "hypothesis")
        os.chdir(folder)
        _few_examples()
        import pytest

        # Without conftest.py, which provides the servers, and without installed plugins.
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        options = [
            "-x",
            "-q",
            f"--rootdir={folder}",
            f"-c={folder / 'pytest.ini'}",
            "--noconftest",
            "--assert=plain",
            "-p",
            "no:cacheprovider",
        ]
        code = 0
        for tests, plugin in stages:
            code = int(pytest.main([*options, f"--basetemp={folder / place.name}-tmp", *tests], plugins=[plugin]))
            code = 0 if code == int(pytest.ExitCode.NO_TESTS_COLLECTED) else code
            if code:
                break
    except BaseException:  # noqa: BLE001  # reported in the process that ends here
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _few_examples() -> None:
    from hypothesis import HealthCheck, settings

    settings.register_profile(
        "mutants",
        deadline=None,
        max_examples=25,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("mutants")


def explained() -> dict[str, str]:
    """The mutants that change no observable behaviour, by key, with the reason."""
    found = {}
    for line in EXPLAINED.read_text().splitlines() if EXPLAINED.exists() else ():
        if line.strip() and not line.startswith("#"):
            key, _, reason = line.rpartition(" | ")
            found[key] = reason
    return found


def present(tests: Sequence[str]) -> list[str]:
    return [str(path.relative_to(ROOT)) for test in tests for path in (ROOT / "tests").rglob(test)]


def chosen(modules: Sequence[str], sources: Path, sample: int | None, seed: int) -> Iterator[Mutant]:
    """The mutants to try: all, or a fixed random sample of each module."""
    for module in modules:
        found = mutants_of(module, (sources / f"{module}.py").read_text())
        if sample is not None and sample < len(found):
            found = sorted(random.Random(f"{seed} {module}").sample(found, sample), key=lambda one: one.number)
        yield from found


def try_all(mutants: Sequence[Mutant], runner: Runner) -> dict[str, list[tuple[Mutant, bool]]]:
    """Each mutant and whether it was killed, by module. Exits if the tests fail without a mutant."""
    limits: dict[str, float] = {}
    callers: dict[str, Mapping[int, frozenset[str]]] = {}
    for tests in dict.fromkeys(TESTS[mutant.module] for mutant in mutants):
        out = runner.folder / "callers.json"
        runner.start([(present(tests), _Callers(out))], None, 10 * LONGEST)
        _, failed, seconds = runner.finish_one()
        if failed:
            sys.exit(f"{', '.join(tests)} fail without any mutant:\n{_last_output(runner.folder)}")
        found = json.loads(out.read_text())
        for module in (module for module, others in TESTS.items() if others == tests):
            limits[module] = max(LONGEST, 4 * seconds)
            callers[module] = {int(line): frozenset(names) for line, names in found.get(module, {}).items()}
        print(f"{', '.join(tests)} take {seconds:.1f} s", flush=True)
    results: dict[str, list[tuple[Mutant, bool]]] = defaultdict(list)
    waiting = list(reversed(mutants))
    while waiting or runner.is_busy:
        while waiting and not runner.is_full:
            mutant = waiting.pop()
            wanted = callers_of(mutant, callers[mutant.module])
            runner.start(stages_of(present(TESTS[mutant.module]), wanted), mutant, limits[mutant.module])
        done, failed, _ = runner.finish_one()
        if done is not None:
            results[done.module].append((done, failed))
            if not failed:
                print(f"  survives: src/dregutil/{done.module}.py:{done.line}  {done.key}", flush=True)
    return results


def report(results: dict[str, list[tuple[Mutant, bool]]], reasons: dict[str, str]) -> bool:
    """Print the score of each module; return whether all are high enough."""
    print(f"\n{'module':20} {'tried':>6} {'killed':>7} {'explained':>10} {'score':>7}")
    is_enough = True
    for module, found in results.items():
        killed = sum(failed for _, failed in found)
        alike = sum(mutant.key in reasons for mutant, failed in found if not failed)
        counted = len(found) - alike
        score = killed / counted if counted else 1.0
        is_enough = is_enough and score >= ENOUGH
        print(f"{module:20} {len(found):6} {killed:7} {alike:10} {score:7.0%}")
    for mutant, failed in (one for found in results.values() for one in found):
        if not failed and mutant.key not in reasons:
            print(f"survives: src/dregutil/{mutant.module}.py:{mutant.line}  {mutant.key}")
        if failed and mutant.key in reasons:
            print(f"killed, although explained as equivalent: {mutant.key}")
    return is_enough


def _last_output(folder: Path) -> str:
    return "\n".join(path.read_text()[-2000:] for path in folder.glob("copy-*.txt"))


def main() -> int:
    parser = argparse.ArgumentParser(description="Mutation tests of the modules that make decisions.")
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"of {', '.join(TESTS)}; all by default")
    parser.add_argument("--sample", type=int, metavar="N", help="a fixed random sample of N for each module")
    parser.add_argument("--seed", type=int, default=0, help="which sample (default 0)")
    parser.add_argument("-j", "--jobs", type=int, default=2, metavar="N", help="mutants at a time (default 2)")
    parser.add_argument("--list", action="store_true", help="show the changes without trying them")
    parser.add_argument("--only", metavar="TEXT", help="only mutants whose key contains TEXT")
    args = parser.parse_args()
    unknown = [module for module in args.modules if module not in TESTS]
    if unknown:
        parser.error(f"no tests are named for {', '.join(unknown)}: see TESTS in {Path(__file__).name}")
    with tempfile.TemporaryDirectory(prefix="mutants-", ignore_cleanup_errors=True) as folder:
        runner = Runner(args.jobs, Path(folder))
        found = chosen(args.modules or list(TESTS), runner.source, args.sample, args.seed)
        mutants = [one for one in found if (args.only or "") in one.key]
        if args.list:
            print("\n".join(f"{one.line:4} {one.key}" for one in mutants))
            return 0
        for name in _PRELOADED:
            __import__(name)
        return 0 if report(try_all(mutants, runner), explained()) else 1


if __name__ == "__main__":
    sys.exit(main())
