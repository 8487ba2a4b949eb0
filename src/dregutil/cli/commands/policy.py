"""`policy check`: the mistakes in a policy file, and selectors that match nothing in a registry. `policy import`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from dregutil.cli.configurable import Source
from dregutil.cli.opened import opened
from dregutil.cli.output import emit, note, plural
from dregutil.cli.policy_warnings import at, expiry_warnings, unmatched_selectors
from dregutil.cli.settings import Settings
from dregutil.cli.storage import read_stored
from dregutil.errors import DregutilError, PartialError, UsageError, escaped
from dregutil.files import read_text
from dregutil.inventory.contents.database import ContentDatabase
from dregutil.inventory.tags import Inventory
from dregutil.oci.names import RegistryAddress
from dregutil.pulls.find_logs import check_logs
from dregutil.retention.asked import Engine, Kubernetes
from dregutil.retention.image_name import registry_hosts
from dregutil.retention.in_use import ListFile, ListReport, find_in_use, images_in, refuse_caches_alone
from dregutil.retention.names import name_rules
from dregutil.retention.policy import InUseList, ParsedSelect, PolicySet, applies_to
from dregutil.retention.policyfile import Mistake, PolicyError
from dregutil.retention.read_lists import (
    STANDARD_INPUT,
    manifests_of,
    policy_folder,
    read_doomed_lists,
    read_list,
    read_name_lists,
)
from dregutil.retention.select import overlaps
from dregutil.retention.translate import SERVICES, translate
from dregutil.retention.verdict import TagFacts
from dregutil.session.protected import load_policy

__all__ = ["policy_command"]

_MISTAKEN, _USAGE = "mistake", 2
_LONGEST = 16 << 20  # bytes of an export


def policy_command(args: argparse.Namespace, settings: Settings) -> int:
    if args.action == "import":
        return _import(args.words)
    if len(args.words) != 1:
        raise UsageError("policy check takes one file, or one folder", advice=f"not {len(args.words)}")
    args.file = args.words[0]
    return _check(args, settings)


def _import(words: Sequence[str]) -> int:
    """Print the rules of another registry as a policy, and on standard error what that cannot say."""
    if len(words) != 2 or words[0] not in SERVICES:
        raise UsageError(
            f"policy import takes a service and a file: {', '.join(SERVICES)}",
            advice="such as `policy import ecr lifecycle.json`",
        )
    service, file = words
    try:
        text = read_text(Path(file), _LONGEST)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise UsageError(f"{file} is not UTF-8 text") from error
    found = translate(service, text)
    sys.stdout.write(found.text)
    for one in found.lost:
        sys.stderr.write(f"dregutil: not translated: {escaped(one)}\n")
    return 0


def _check(args: argparse.Namespace, settings: Settings) -> int:
    try:
        policies = load_policy(args.file)
    except PolicyError as error:
        _emit(args, settings, [(_MISTAKEN, mistake) for mistake in error.mistakes])
        return _USAGE
    folder = policy_folder(Path(args.file))
    lists, faults = _lists(policies, folder)
    faults += _name_faults(policies, folder)
    faults += _doomed_faults(policies, folder)
    faults += _log_faults(policies, folder)
    owners = [("owner", owner) for owner in _owners(policies)]
    found = [("warning", warning) for warning in _shadowed(policies)]
    where = ""
    if args.against is not None:
        settings = _against(args.against, settings)
        address = settings.address
        with opened(settings) as registry:
            if any(one.select.untagged for one in policies.policies):
                read_stored(registry, settings)
            source = registry.inventory()
            if source.failed:
                raise PartialError(f"{plural(len(source.failed), 'repository')} could not be read")
            faults += _strangers(policies, lists, source.inventory, address, registry.database)
            untagged = registry.find_untagged(policies, source)
            expiries = _expiries(policies, source.inventory, registry.database)
        found += [("warning", warning) for warning in unmatched_selectors(policies, source.inventory, untagged)]
        found += [("warning", warning) for warning in _overlaps(policies, source.inventory)]
        found += [("warning", warning) for warning in expiries]
        where = f" against {address.name}"
    faults.sort(key=lambda fault: (fault.line, fault.column))
    number = plural(len(faults), _MISTAKEN) if faults else "no mistakes"
    summary = f"{plural(len(policies.policies), 'policy')}, {number}, {plural(len(found), 'warning')}{where}"
    _emit(args, settings, [*((_MISTAKEN, fault) for fault in faults), *owners, *found], f"{args.file}: {summary}")
    for line in _unasked(policies):
        note(settings, line)
    return _USAGE if faults else 0


def _expiries(policies: PolicySet, inventory: Inventory, database: ContentDatabase) -> Iterator[Mistake]:
    """Warnings about expiry dates in the images that were read before; this reads none."""
    asking = [policy for policy in policies.policies if policy.expires is not None]
    tags = {
        name: found for name, found in inventory.as_mapping().items() if any(applies_to(one, name) for one in asking)
    }
    return expiry_warnings(
        policies,
        {
            name: [TagFacts(tag, digest, content=database.details(digest)) for tag, digest in found.items()]
            for name, found in tags.items()
        },
    )


def _against(named: str, settings: Settings) -> Settings:
    """The settings for the registry that --against names. Raises UsageError if another one is named as well."""
    if settings.found["registry"].where == "--against":
        # What the selectors match is read now, unless a cache file is named.
        return settings if settings.found["cache"].source is not Source.DEFAULT else replace(settings, cache=None)
    if named != settings.name and settings.address.key != RegistryAddress.parse(named).key:
        raise UsageError(
            f"--against {named}, and the registry is {settings.address.name}",
            advice="name one of them: a login is never sent to another registry",
        )
    return settings


def _lists(policies: PolicySet, folder: Path) -> tuple[list[ListFile], list[Mistake]]:
    """The lists of images in use that can be read, and the mistakes for which `cleanup` would refuse the others.

    Standard input is not read, and no cluster is asked: what they will name at the time of the `cleanup` is not known.
    """
    lists: list[ListFile] = []
    faults: list[Mistake] = []
    for entry in policies.protect.in_use:
        if isinstance(entry, InUseList) and entry.file != STANDARD_INPUT:
            try:
                file = read_list(entry, folder)
                images_in(file)
                lists.append(file)
            except DregutilError as error:
                faults.append(Mistake(entry.line, entry.column, error.message))
    return lists, faults


def _unasked(policies: PolicySet) -> Iterator[str]:
    """What says what is in use and is left to the runs: a check may be made where clusters cannot be reached."""
    asked: list[str] = []
    for entry in policies.protect.in_use:
        if isinstance(entry, Kubernetes):
            asked += [f"kubernetes {context}" for context in entry.contexts or ()] or ["kubernetes"]
        elif isinstance(entry, Engine):
            asked.append(entry.name)
        elif entry.file == STANDARD_INPUT:
            yield "the list on standard input was not read: each run reads it"
    if asked:
        yield f"not asked what is in use: {', '.join(asked)}; each run asks"


def _name_faults(policies: PolicySet, folder: Path) -> Iterator[Mistake]:
    """The mistakes for which `cleanup` would refuse lists of names; how long they were is not known here."""
    for rule in name_rules(policies):
        try:
            read_name_lists(replace(policies, policies=(replace(policies.policies[0], keep=(rule,)),)), folder, {})
        except DregutilError as error:
            yield Mistake(rule.line, rule.column, error.message)


def _doomed_faults(policies: PolicySet, folder: Path) -> Iterator[Mistake]:
    """The mistakes for which `cleanup` would refuse lists of images to remove, whatever the registry."""
    for policy in policies.policies:
        for entry in policy.doomed:
            one = replace(policies, policies=(replace(policy, doomed=(entry,)),))
            try:
                read_doomed_lists(one, folder, RegistryAddress.parse("localhost"))
            except DregutilError as error:
                yield Mistake(entry.line, entry.column, error.message)


def _log_faults(policies: PolicySet, folder: Path) -> Iterator[Mistake]:
    """The access logs of `pulls` for which `cleanup` would refuse to run; what is in them is not read."""
    for entry in policies.protect.pulls:
        try:
            check_logs(entry.files, folder)
        except DregutilError as error:
            yield Mistake(entry.line, entry.column, error.message)


def _strangers(
    policies: PolicySet,
    lists: Sequence[ListFile],
    inventory: Inventory,
    address: RegistryAddress,
    database: ContentDatabase,
) -> Iterator[Mistake]:
    """Lists that name nothing in this registry, or mostly missing images. IDs are looked up in the content database."""
    own = registry_hosts(address, policies.protect.aliases)
    lookup, reports = manifests_of(database), list[ListReport]()
    for file in lists:
        try:
            read = [(file, images_in(file, own))]
            reports += find_in_use(policies.protect, read, inventory, address, lookup, is_whole=False)[1]
        except DregutilError as error:
            yield Mistake(file.entry.line, file.entry.column, error.message)
    try:
        # Standard input is not read here, and may have more.
        refuse_caches_alone(reports if len(reports) == len(policies.protect.in_use) else ())
    except DregutilError as error:
        yield Mistake(lists[0].entry.line, lists[0].entry.column, error.message)


def _emit(args: argparse.Namespace, settings: Settings, found: list[tuple[str, Mistake]], *more: str) -> None:
    objects: list[dict[str, object]] = [
        {"file": one.file or args.file, "line": one.line, "column": one.column, "kind": kind, "text": one.text}
        for kind, one in found
    ]
    lines = [one.shown(args.file) if kind == _MISTAKEN else f"{one.shown(args.file)} ({kind})" for kind, one in found]
    emit(settings, objects, [*lines, *more])


def _owners(policies: PolicySet) -> Iterator[Mistake]:
    """Which policy of which file applies to which repositories, if there are several files."""
    for policy in policies.policies:
        for glob in policy.repositories if policy.file else ():
            yield at(policy, f"{glob.text} belongs to {policy.name!r}")


def _shadowed(policies: PolicySet) -> Iterator[Mistake]:
    """Policies that can own nothing because an earlier one selects every tag of their repositories."""
    takes_all: dict[str, str] = {}
    for policy in policies.policies:
        globs = [glob.text for glob in policy.repositories]
        by = takes_all.get("**") or next((takes_all[text] for text in globs if text in takes_all), None)
        if by is not None and ("**" in takes_all or all(text in takes_all for text in globs)):
            yield at(policy, f"{policy.name!r} owns nothing: {by!r} before it selects every tag there")
        if policy.select == ParsedSelect():
            takes_all.update((text, policy.name) for text in globs if text not in takes_all)


def _overlaps(policies: PolicySet, inventory: Inventory) -> Iterator[Mistake]:
    tags = inventory.as_mapping()
    named = {policy.name: policy for policy in policies.policies}
    facts = {name: [TagFacts(tag, digest) for tag, digest in found.items()] for name, found in tags.items()}
    by_name = replace(
        policies,
        policies=tuple(replace(one, select=replace(one.select, labels=())) for one in policies.policies),
    )
    for (first, second), number in overlaps(by_name, facts).items():
        text = f"{second!r} overlaps {first!r} on {plural(number, 'tag')}, which {first!r} owns"
        yield at(named[second], text)
