"""Plans as a session makes them: with what this machine's records and content database know."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from dregutil.files import contents_file, state_folder
from dregutil.inventory.contents.database import ContentDatabase
from dregutil.inventory.contents.known_manifests import KnownManifests
from dregutil.inventory.tags import Inventory
from dregutil.journal.history import RunHistory
from dregutil.journal.store import RunStore
from dregutil.plan import live
from dregutil.plan.model import Plan, RemovalOptions
from dregutil.registry import Registry
from dregutil.select.selection import Selection

__all__ = ["plan_removal"]


async def plan_removal(
    registry: Registry,
    selection: Selection,
    inventory: Inventory,
    options: RemovalOptions | None = None,
    **more: Any,
) -> Plan:
    """As `plan.live.plan_removal`; what is not given in `more` comes from this machine's state folder."""
    with ExitStack() as stack:
        if "seen" not in more:
            more["seen"] = KnownManifests(stack.enter_context(ContentDatabase.open(contents_file())))
        if "known_indexes" not in more:
            more["known_indexes"] = RunHistory(RunStore(state_folder()), registry.address.identity).known_indexes()
        return await live.plan_removal(registry, selection, inventory, options, **more)
