"""Search and safe cleanup on any Docker/OCI registry that speaks the v2 API.

    async with dregutil.connect_writable("registry.example.com") as registry:
        found = await dregutil.crawl(registry)
        ...

Names are imported when they are first used: what only reads a cache file needs no HTTP client.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dregutil.apply.apply import apply_plan
    from dregutil.apply.undo.plan import plan_undo
    from dregutil.apply.undo.run import apply_undo
    from dregutil.errors import DregutilError
    from dregutil.inventory.cache_file import CacheFile
    from dregutil.inventory.contents.database import ContentDatabase
    from dregutil.inventory.contents.read import Contents, read_contents
    from dregutil.inventory.crawl import CrawlProgress, CrawlResult, crawl
    from dregutil.inventory.known import Known
    from dregutil.inventory.tags import Inventory
    from dregutil.journal.store import RunStore
    from dregutil.oci.image import ImageDetails
    from dregutil.oci.names import Digest, Reference, RegistryAddress, Repository, Tag
    from dregutil.plan.model import Kept, Plan, RemovalOptions, Step
    from dregutil.plan.outcome import NoRecorder, Outcome, Result, RunResult
    from dregutil.registry import ConnectOptions, Registry, WritableRegistry, connect, connect_writable
    from dregutil.retention.policy import InUseList, PolicySet
    from dregutil.retention.policyfile import Keep, Policy, PolicyError, Protect, Select, policy_set, read_policy
    from dregutil.select.selection import MatchRules, Selection, select_repositories, select_tags
    from dregutil.select.selector import TagSelector
    from dregutil.session import plan_removal
    from dregutil.storage.garbage_collector import Collector

__version__ = "2.1.0"

_PLACES = {
    "dregutil.apply.apply": ("apply_plan",),
    "dregutil.inventory.cache_file": ("CacheFile",),
    "dregutil.inventory.contents.database": ("ContentDatabase",),
    "dregutil.inventory.contents.read": ("Contents", "read_contents"),
    "dregutil.inventory.crawl": ("CrawlProgress", "CrawlResult", "crawl"),
    "dregutil.oci.image": ("ImageDetails",),
    "dregutil.errors": ("DregutilError",),
    "dregutil.inventory.tags": ("Inventory",),
    "dregutil.plan.outcome": ("NoRecorder", "Outcome", "Result", "RunResult"),
    "dregutil.plan.model": ("Kept", "Plan", "RemovalOptions", "Step"),
    "dregutil.oci.names": ("Digest", "Reference", "RegistryAddress", "Repository", "Tag"),
    "dregutil.registry": ("ConnectOptions", "Registry", "WritableRegistry", "connect", "connect_writable"),
    "dregutil.retention.policy": ("InUseList", "PolicySet"),
    "dregutil.retention.policyfile": (
        "Keep",
        "Policy",
        "PolicyError",
        "Protect",
        "Select",
        "policy_set",
        "read_policy",
    ),
    "dregutil.session": ("plan_removal",),
    "dregutil.storage.garbage_collector": ("Collector",),
    "dregutil.apply.undo.run": ("apply_undo",),
    "dregutil.apply.undo.plan": ("plan_undo",),
    "dregutil.inventory.known": ("Known",),
    "dregutil.journal.store": ("RunStore",),
    "dregutil.select.selection": ("MatchRules", "Selection", "select_repositories", "select_tags"),
    "dregutil.select.selector": ("TagSelector",),
}
_PLACE_OF = {name: place for place, names in _PLACES.items() for name in names}

__all__ = [
    "CacheFile",
    "Collector",
    "ConnectOptions",
    "ContentDatabase",
    "Contents",
    "CrawlProgress",
    "CrawlResult",
    "Digest",
    "DregutilError",
    "ImageDetails",
    "InUseList",
    "Inventory",
    "Keep",
    "Kept",
    "Known",
    "MatchRules",
    "NoRecorder",
    "Outcome",
    "Plan",
    "Policy",
    "PolicyError",
    "PolicySet",
    "Protect",
    "Reference",
    "Registry",
    "RegistryAddress",
    "RemovalOptions",
    "Repository",
    "Result",
    "RunResult",
    "RunStore",
    "Select",
    "Selection",
    "Step",
    "Tag",
    "TagSelector",
    "WritableRegistry",
    "__version__",
    "apply_plan",
    "apply_undo",
    "connect",
    "connect_writable",
    "crawl",
    "plan_removal",
    "plan_undo",
    "policy_set",
    "read_contents",
    "read_policy",
    "select_repositories",
    "select_tags",
]


def __getattr__(name: str) -> object:
    place = _PLACE_OF.get(name)
    if place is None:
        raise AttributeError(f"module 'dregutil' has no attribute {name!r}")
    found = getattr(importlib.import_module(place), name)
    globals()[name] = found
    return found
