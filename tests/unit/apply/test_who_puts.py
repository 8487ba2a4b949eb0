"""Which code may write, checked in the source: an audit of `apply` begins with two short modules."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import dregutil.apply

APPLY = Path(dregutil.apply.__file__).parent
# Where a manifest is put, how often, and from which bytes.
PUTS = {"put_back.py": ["manifest.raw"], "placeholder.py": ["self.raw"]}


def calls_of(name: str) -> list[tuple[str, ast.expr]]:
    """Each use of an attribute `name` in the room, as a call or a value, with the surrounding call if there is one."""
    found: list[tuple[str, ast.expr]] = []
    for path in sorted(APPLY.rglob("*.py")):
        tree = ast.parse(path.read_text())
        calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
        used = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == name)
        found += [(str(path.relative_to(APPLY)), calls.get(id(node), node)) for node in used]
    return found


def test_a_manifest_is_put_by_put_back_and_a_placeholder_by_its_own_module() -> None:
    found: dict[str, list[str]] = {}
    for place, call in calls_of("put_manifest"):
        assert isinstance(call, ast.Call), f"{place} hands put_manifest on"
        found.setdefault(place, []).append(ast.unparse(call.args[2]))
    assert found == PUTS


def test_who_restores() -> None:
    """What a registry's service brings back comes with its tags: only where these are what is to come back."""
    assert Counter(place for place, _ in calls_of("restore")) == {"put_back.py": 2, "undo/run.py": 1}


def test_who_deletes() -> None:
    """A step's DELETE is in `delete`, after `send` has allowed it; all else deletes what the run itself had put, or a
    tag by its name."""
    found = Counter(place for place, _ in calls_of("delete_manifest"))
    assert found == {"delete.py": 1, "placeholder.py": 2, "clearing.py": 1, "dangling.py": 2}
    assert {place for place, _ in calls_of("delete_tag")} == {"untag/by_name.py"}
    tree = ast.parse((APPLY / "delete.py").read_text())
    (sends,) = (one for one in ast.walk(tree) if isinstance(one, ast.AsyncFunctionDef) and one.name == "_send_once")
    text = ast.unparse(sends)
    assert text.index("state.send()") < text.index("delete_manifest(")


def test_no_module_reaches_it_by_name() -> None:
    for path in APPLY.rglob("*.py"):
        names = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
        assert not {"put_manifest", "delete_manifest", "delete_tag", "restore"} & {
            name for name in names if isinstance(name, str)
        }


def test_every_put_of_a_tag_names_its_guard() -> None:
    """The guard of `put_back_tags` has no default: each call shows what may be overwritten."""
    guards: Counter[str] = Counter()
    for path in sorted(APPLY.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "put_back_tags":
                (guard,) = (keyword.value for keyword in node.keywords if keyword.arg == "guard")
                guards[ast.unparse(guard)] += 1
    assert guards
    assert all(guard.startswith(("if_free", "just_", "guard", "self._unless_moved")) for guard in guards), guards
