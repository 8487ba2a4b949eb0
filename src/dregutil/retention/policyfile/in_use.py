"""An item of `in_use`: a list of images, or Kubernetes clusters."""

from __future__ import annotations

import re
from typing import Any

from dregutil.retention.asked import Engine, Kubernetes
from dregutil.retention.policy import InUseList
from dregutil.retention.policyfile.shape import ENGINES, IN_USE
from dregutil.retention.policyfile.tree import Tree
from dregutil.select.quantity import parse_duration

__all__ = ["read_in_use"]

_IGNORED = re.compile(r"(?:[a-z0-9-]+|\*(?=\.))(?:\.[a-z0-9-]+)*", re.IGNORECASE)


def read_in_use(tree: Tree, node: Any) -> InUseList | Kubernetes | Engine:
    """One of what says what is in use; mistakes are noted in `tree`."""
    before = len(tree.mistakes)
    keys = tree.section(node, "in_use")
    named = [key for key in IN_USE if key in keys]
    if len(named) != 1 and len(tree.mistakes) == before:
        tree.wrong(node, f"'in_use' must have one of {', '.join(IN_USE)}")
    place = keys.get(named[0], node).start_mark if named else node.start_mark
    line, column = place.line + 1, place.column + 1
    if "max_age" in keys and "file" not in keys:
        tree.wrong(keys["max_age"], "'max_age' is for a file: everything else is asked anew in each run")
    for engine in ENGINES:
        if engine in keys:
            if not tree.switch(keys[engine], default=True):
                tree.wrong(keys[engine], f"'{engine}' can only be true; leave the item out")
            return Engine(engine, line, column)
    if "kubernetes" not in keys:
        max_age = tree.read(keys.get("max_age"), parse_duration)
        return InUseList(tree.text(keys.get("file")) or "", max_age, line, column)
    inner = tree.section(keys["kubernetes"], "kubernetes")
    return Kubernetes(
        tree.read_all(inner["contexts"], str) if "contexts" in inner else None,
        tree.switch(inner.get("finished"), default=True),
        tree.read_all(inner.get("ignore"), _ignored),
        line,
        column,
    )


def _ignored(text: str) -> str:
    if not _IGNORED.fullmatch(text):
        raise ValueError(f"{text!r} is not a kind: 'pods', 'pipelines.tekton.dev', or '*.tekton.dev' for a group")
    return text
