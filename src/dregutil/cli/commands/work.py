"""`work`: a worker on the shared store, until it is ended; and the switches of all workers."""

from __future__ import annotations

import argparse
import os
import secrets
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from dregutil.cli.address import listening_address
from dregutil.cli.configuration import Configuration, read_configuration
from dregutil.cli.named_store import opened_store
from dregutil.cli.output import note
from dregutil.cli.passed_on import global_options
from dregutil.cli.settings import Settings
from dregutil.errors import JournalError, UsageError, escaped
from dregutil.files import make_private_folder
from dregutil.journal.actor import host_name, user_name
from dregutil.oci.names import RegistryAddress
from dregutil.select.quantity import parse_duration
from dregutil.serve.program import Program
from dregutil.store.ledger import LEASE
from dregutil.store.secrets import without_store_passwords
from dregutil.store.workers import Workers
from dregutil.work.schedule import Schedule
from dregutil.work.site import KINDS, Registry, Site
from dregutil.work.worker import run

__all__ = ["work"]

_OLD = 2 * 24 * 3600  # seconds after which the folder of a worker that was killed is removed
_FASTEST = 1e6  # requests a second


def work(args: argparse.Namespace, settings: Settings) -> int:
    if args.action is not None:
        return _switch(args, settings)
    if args.pace is not None:
        raise UsageError("a number is for `work pace N`")
    if settings.store is None:
        raise UsageError(
            "a worker needs a shared store",
            advice="name it with --store URL, in DREGUTIL_STORE, or as `store` in the configuration",
        )
    configuration = None if settings.configuration is None else read_configuration(settings.configuration)
    with _folder(settings.state_dir) as folder:
        site = _site(args, settings, configuration, folder)
        lease = float(os.environ.get("DREGUTIL_LEASE", LEASE))
        run(site, _tell, lambda address: _tell_ready(site, address), lease=lease)
    return 0


def _switch(args: argparse.Namespace, settings: Settings) -> int:
    """Pause or resume a registry, or set its pace. Raises UsageError and StoreError."""
    address = settings.address
    pace = _pace(args)
    with opened_store(settings) as database:
        workers = Workers(database)
        if args.action == "pause":
            workers.pause(address.key, address.name, user_name())
            note(settings, f"{address.name} is paused: nothing begins there, and workers end their runs there")
        elif args.action == "resume":
            was = workers.resume(address.key)
            note(settings, f"{address.name} is {'no longer' if was else 'not'} paused")
        else:
            workers.set_pace(address.key, address.name, pace or None)
            limit = f"at most {pace:g} requests a second together" if pace else "as many requests as it accepts"
            note(settings, f"the workers send {limit} to {address.name}")
    return 0


def _pace(args: argparse.Namespace) -> float:
    """Raises UsageError."""
    if args.action != "pace":
        if args.pace is not None:
            raise UsageError(f"work {args.action} takes no number")
        return 0.0
    try:
        found = float(args.pace)
    except (TypeError, ValueError):
        found = -1.0
    if not 0 <= found <= _FASTEST:
        raise UsageError("work pace needs the requests a second of all workers together", advice="0: no limit")
    return found


def _site(args: argparse.Namespace, settings: Settings, configuration: Configuration | None, folder: Path) -> Site:
    """Raises UsageError."""
    assert settings.store is not None
    host, port = listening_address(args.addr, "127.0.0.1:8091")
    schedules: Mapping[str, Schedule] = {} if configuration is None else configuration.schedules
    own = _own(settings)
    registry_of = {name: _registry(one, own, configuration) for name, one in schedules.items()}
    configured = [] if configuration is None else configuration.registries.values()
    registries = {one.address.key: Registry(one.name, one.address.key) for one in configured}
    for one in (*([own] if own is not None else []), *registry_of.values()):
        registries.setdefault(one.key, one)
    if not registries:
        raise UsageError("no registry was named", advice="name it with -reg HOST, or in the configuration")
    if isinstance(settings.password, str) and len(registries) > 1:
        raise UsageError(
            "one password is not for several registries",
            advice="give each its password_command in the configuration, or use `docker login`",
        )

    def shown(words: Sequence[str]) -> str:
        return settings.advised(shlex.join(words)).strip("`")

    options = tuple(one for one in global_options(args) if not one.startswith("--registry="))
    return Site(
        address=settings.store,
        program=Program(options, _environment(settings), shown),
        folder=folder,
        actor=f"{user_name()}@{host_name()}",
        registries=registries,
        schedules=schedules,
        registry_of=registry_of,
        kinds=args.only or KINDS,
        grace=parse_duration(args.grace).total_seconds(),
        host=host,
        port=port,
    )


def _own(settings: Settings) -> Registry | None:
    """The registry that was named, or the default one."""
    if settings.registry is None:
        return None
    return Registry(settings.name or settings.registry.spelled, settings.registry.key)


def _registry(schedule: Schedule, own: Registry | None, configuration: Configuration | None) -> Registry:
    """The registry of a schedule. Raises UsageError if it has none."""
    name = schedule.registry
    if not name:
        if own is None:
            raise UsageError(
                f"{schedule.where}: the schedule {schedule.name} names no registry, and there is no default",
                advice='add registry = "…" to it, or default = "…" at the top',
            )
        return own
    configured = None if configuration is None else configuration.registries.get(name)
    return Registry(name, RegistryAddress.parse(name).key if configured is None else configured.address.key)


def _environment(settings: Settings) -> dict[str, str]:
    """That of this process, with the password that was given or asked for: no command line ever has it."""
    if isinstance(settings.password, str):
        return {**os.environ, "REGISTRY_PASSWORD": settings.password}
    return dict(os.environ)


@contextmanager
def _folder(state: Path) -> Iterator[Path]:
    """A folder for the files of jobs, removed at the end. Raises JournalError."""
    above = state / "work"
    try:
        make_private_folder(above)
        for old in above.iterdir():
            with suppress(OSError):
                if time.time() - old.stat().st_mtime > _OLD:
                    shutil.rmtree(old, ignore_errors=True)
        found = above / secrets.token_hex(8)
        make_private_folder(found)
    except OSError as error:
        raise JournalError(f"{above} cannot be used: {error.strerror or error}") from error
    try:
        yield found
    finally:
        shutil.rmtree(found, ignore_errors=True)


def _tell_ready(site: Site, address: str) -> None:
    what = ", ".join(site.kinds)
    names = ", ".join(one.name for one in site.registries.values())
    _tell(f"working ({what}) on {names}, with {site.address}; {address}healthz, {address}metrics")


def _tell(text: str) -> None:
    sys.stderr.write(f"dregutil work: {escaped(without_store_passwords(text))}\n")
    sys.stderr.flush()
