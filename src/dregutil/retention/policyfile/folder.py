"""Several policy files under one floor → one set of policies, in which the order of the files does not matter. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dregutil.retention.floor import with_floor
from dregutil.retention.policy import Floor, ParsedPolicy, ParsedProtect, PolicySet
from dregutil.retention.policyfile.reader import PolicyError, Reader
from dregutil.retention.policyfile.tree import Mistake, Tree

__all__ = ["read_policies"]


def read_policies(texts: Mapping[str, str], name: str = "policies.d") -> PolicySet:
    """The policies of several files, by file name, under the floor that one of them has.

    Raises PolicyError with the mistakes of all files: also if two files have a floor, two policies have one name, or
    policies of two files may select tags of the same repository.
    """
    mistakes: list[Mistake] = []
    files: dict[str, PolicySet] = {}
    for file, text in sorted(texts.items()):
        tree = Tree(text)
        found = Reader(tree).policy_set(file)
        mistakes += [replace(mistake, file=file) for mistake in tree.mistakes]
        files[file] = replace(found, policies=tuple(replace(one, file=file) for one in found.policies))
    if not mistakes:
        mistakes += [*_second_floors(files), *_second_zones(files), *_second_owners(files)]
    if mistakes:
        raise PolicyError(name, mistakes)
    floor = next((one.floor for one in files.values() if one.floor is not None), None)
    zone = next(iter(files.values())).zone
    policies = tuple(policy for one in files.values() for policy in one.policies)
    whole = PolicySet(policies, _all_protected(files), zone, name, floor)
    return with_floor(whole, floor or Floor())


def _all_protected(files: Mapping[str, PolicySet]) -> ParsedProtect:
    found = ParsedProtect()
    for one in files.values():
        found = found.joined(one.protect)
    return found


def _second_floors(files: Mapping[str, PolicySet]) -> Sequence[Mistake]:
    having = [file for file, one in files.items() if one.floor is not None]
    return [Mistake(1, 1, f"{having[0]} has a 'floor' already", file=file) for file in having[1:]]


def _second_zones(files: Mapping[str, PolicySet]) -> Sequence[Mistake]:
    first, *others = files.items()
    return [
        Mistake(1, 1, f"its 'timezone' is not that of {first[0]}, {first[1].zone}", file=file)
        for file, one in others
        if one.zone != first[1].zone
    ]


def _second_owners(files: Mapping[str, PolicySet]) -> Sequence[Mistake]:
    """Policies of different files with the same name, or that may select tags of one repository."""
    found: list[Mistake] = []
    before: list[ParsedPolicy] = []
    for one in files.values():
        for policy in one.policies:
            for other in before:
                text = _conflict(other, policy)
                if text:
                    found.append(Mistake(policy.line, policy.column, text, file=policy.file))
        before += one.policies
    return found


def _conflict(one: ParsedPolicy, other: ParsedPolicy) -> str:
    """Why two policies of different files cannot stand beside each other; empty if they can."""
    if one.name == other.name:
        return f"a policy in {one.file} is called {one.name!r}, too"
    if one.select.untagged is not other.select.untagged:
        return ""
    for glob in other.repositories:
        for taken in one.repositories:
            shared = glob.shared(taken)
            if shared:
                return (
                    f"{other.name!r} and {one.name!r} in {one.file} both apply to repositories such as {shared!r}: "
                    "which of them owns a tag would depend on the order of the files"
                )
    return ""
