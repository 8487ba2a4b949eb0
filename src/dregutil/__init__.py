"""Search and safe cleanup on any Docker/OCI registry that speaks the v2 API.

    async with dregutil.connect_writable("registry.example.com") as registry:
        found = await dregutil.crawl(registry)
        ...

Names are imported when they are first used: what only reads a cache file needs no HTTP client.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dregutil.apply import apply_plan
    from dregutil.cachefile import CacheFile
    from dregutil.content_database import ContentDatabase
    from dregutil.contents import Contents, read_contents
    from dregutil.crawl import CrawlProgress, CrawlResult, crawl
    from dregutil.details import ImageDetails
    from dregutil.errors import DregutilError
    from dregutil.inventory import Inventory
    from dregutil.outcome import NoRecorder, Outcome, Result, RunResult
    from dregutil.plan import Kept, Plan, RemovalOptions, Step
    from dregutil.reference import Digest, Reference, RegistryAddress, Repository, Tag
    from dregutil.registry import ConnectOptions, Registry, WritableRegistry, connect, connect_writable
    from dregutil.removal import plan_removal
    from dregutil.restore import put_back
    from dregutil.restore_plan import look_back
    from dregutil.run import Known
    from dregutil.runs import RunStore
    from dregutil.selection import MatchRules, Selection, select_repositories, select_tags
    from dregutil.selector import TagSelector

__version__ = "2.1.0"

_PLACES = {
    "dregutil.apply": ("apply_plan",),
    "dregutil.cachefile": ("CacheFile",),
    "dregutil.content_database": ("ContentDatabase",),
    "dregutil.contents": ("Contents", "read_contents"),
    "dregutil.crawl": ("CrawlProgress", "CrawlResult", "crawl"),
    "dregutil.details": ("ImageDetails",),
    "dregutil.errors": ("DregutilError",),
    "dregutil.inventory": ("Inventory",),
    "dregutil.outcome": ("NoRecorder", "Outcome", "Result", "RunResult"),
    "dregutil.plan": ("Kept", "Plan", "RemovalOptions", "Step"),
    "dregutil.reference": ("Digest", "Reference", "RegistryAddress", "Repository", "Tag"),
    "dregutil.registry": ("ConnectOptions", "Registry", "WritableRegistry", "connect", "connect_writable"),
    "dregutil.removal": ("plan_removal",),
    "dregutil.restore": ("put_back",),
    "dregutil.restore_plan": ("look_back",),
    "dregutil.run": ("Known",),
    "dregutil.runs": ("RunStore",),
    "dregutil.selection": ("MatchRules", "Selection", "select_repositories", "select_tags"),
    "dregutil.selector": ("TagSelector",),
}
_PLACE_OF = {name: place for place, names in _PLACES.items() for name in names}

__all__ = [
    "CacheFile",
    "ConnectOptions",
    "ContentDatabase",
    "Contents",
    "CrawlProgress",
    "CrawlResult",
    "Digest",
    "DregutilError",
    "ImageDetails",
    "Inventory",
    "Kept",
    "Known",
    "MatchRules",
    "NoRecorder",
    "Outcome",
    "Plan",
    "Reference",
    "Registry",
    "RegistryAddress",
    "RemovalOptions",
    "Repository",
    "Result",
    "RunResult",
    "RunStore",
    "Selection",
    "Step",
    "Tag",
    "TagSelector",
    "WritableRegistry",
    "__version__",
    "apply_plan",
    "connect",
    "connect_writable",
    "crawl",
    "look_back",
    "plan_removal",
    "put_back",
    "read_contents",
    "select_repositories",
    "select_tags",
]


class _Face(types.ModuleType):
    """`dregutil.crawl` is a module as well as the function in it: the function is what is meant.

    Whoever imports a module puts it into its package, under its name.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _PLACE_OF and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Face


def __getattr__(name: str) -> object:
    place = _PLACE_OF.get(name)
    if place is None:
        raise AttributeError(f"module 'dregutil' has no attribute {name!r}")
    found = getattr(importlib.import_module(place), name)
    globals()[name] = found
    return found
