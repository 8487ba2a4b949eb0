"""Which registry a command works with: the one that is named, that of a recorded run, or the default."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dregutil.cli.configurable import Found, Source
from dregutil.errors import UsageError
from dregutil.oci.names import RegistryAddress

if TYPE_CHECKING:
    from dregutil.cli.configuration import Configuration, ConfiguredRegistry
    from dregutil.store.address import StoreAddress

__all__ = ["ChosenRegistry", "choose_registry"]


@dataclass(frozen=True, slots=True)
class ChosenRegistry:
    """The registry, and where its name comes from. `configured` is its part of the configuration file, None if it was
    named by its host. `hint` names a registry of the file that may have been meant."""

    address: RegistryAddress | None
    found: Found
    configured: ConfiguredRegistry | None = None
    hint: str = ""

    @property
    def name(self) -> str:
        """Its name in the file, empty if it is not in there."""
        return "" if self.configured is None else self.configured.name

    @property
    def table(self) -> Mapping[str, object]:
        """The values of its options in the file."""
        return {} if self.configured is None else self.configured.table


def choose_registry(
    args: argparse.Namespace,
    env: Mapping[str, str],
    configuration: Configuration | None,
    state_dir: Path,
    store: StoreAddress | None,
    *,
    takes_default: bool,
) -> ChosenRegistry:
    """The registry of a command; without an address if none is named, and there is no default to take.

    A name in the file comes before a host of that name. A plan file is not used for this: a file never chooses where
    credentials go. Raises UsageError, and NotFoundError or JournalError for a run that cannot be read.
    """
    given: str | None = getattr(args, "registry", None)
    named = env.get("REGISTRY") or None if given is None else given
    if named is not None:
        source, where = (Source.ENVIRONMENT, "REGISTRY") if given is None else (Source.FLAG, "-reg")
        return _named(named, Found(named, source, where), configuration)
    against: str | None = getattr(args, "against", None)
    if against is not None:
        return _named(against, Found(against, Source.FLAG, "--against"), configuration)
    recorded = _recorded_registry(args, state_dir, store)
    if recorded:
        return _of_record(recorded, configuration)
    if recorded is None and takes_default and configuration is not None and configuration.default is not None:
        default = configuration.registries[configuration.default]
        return ChosenRegistry(default.address, Found(default.name, Source.FILE, str(configuration.path)), default)
    return ChosenRegistry(None, Found(None, Source.DEFAULT))


def _named(named: str, found: Found, configuration: Configuration | None) -> ChosenRegistry:
    registries = {} if configuration is None else configuration.registries
    if named in registries:
        return ChosenRegistry(registries[named].address, found, registries[named])
    hint = ""
    if registries and not set(named) & set(".:/"):
        from dregutil.select.nearest import near

        hint = near(named, registries)
    return ChosenRegistry(RegistryAddress.parse(named), found, hint=hint)


def _recorded_registry(args: argparse.Namespace, state_dir: Path, store: StoreAddress | None) -> str | None:
    """The registry of the run that the command line names, which was recorded on this machine or in the store. None if
    it names no run; empty if the record is damaged: the run may be of any registry, so the default is not taken."""
    run = getattr(args, {"undo": "run", "apply": "resume"}.get(args.command, ""), None)
    if run is None:
        return None
    from dregutil.cli.recorded import recorded_in

    with recorded_in(state_dir, store) as records:
        return records.runs.get(run).plan.registry


def _of_record(recorded: str, configuration: Configuration | None) -> ChosenRegistry:
    """The registry of a record: the one of the file with that address, if there is one. Of several, the default."""
    address = RegistryAddress.parse(recorded)
    same: list[ConfiguredRegistry] = []
    if configuration is not None:
        same = [one for one in configuration.registries.values() if one.address.key == address.key]
        same = [one for one in same if one.name == configuration.default] or same
    if len(same) > 1:
        names = " and ".join(one.name for one in same)
        raise UsageError(f"the run is of {recorded}: {names} have that address", advice="name one of them with -reg")
    if not same:
        return ChosenRegistry(address, Found(recorded, Source.FLAG, "RUN"))
    return ChosenRegistry(same[0].address, Found(same[0].name, Source.FLAG, "RUN"), same[0])
