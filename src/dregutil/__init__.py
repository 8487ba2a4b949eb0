"""Search and safe cleanup on any Docker/OCI registry that speaks the v2 API.

    with dregutil.open("registry.example.com") as registry:
        plan = registry.plan_removal("shop/web", tags=["<1.4"])  # reads live, changes nothing
        run = registry.apply(plan)  # locked, recorded, braked, checked again
        old = registry.plan_removal("shop/*", older_than="90d")  # by the date of the image
        registry.undo(run.id)

`help(dregutil.Session)` lists the verbs, `help(dregutil.Selectors)` what selects tags, `help(dregutil.Options)` how to
connect. Rules that are kept in a file, or that say what to keep, are policies: `plan_cleanup`.

`async with dregutil.connect(…)` has the same verbs, awaited. Names are imported when they are first used: what only
reads a cache file needs no HTTP client.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in typing, which takes as long to import as completion in a shell may take
if TYPE_CHECKING:
    from dregutil.apply.progress import RunProgress
    from dregutil.apply.undo.plan import UndoEntry, UndoPlan
    from dregutil.apply.undo.run import UndoResult, UndoRun
    from dregutil.errors import (
        AccessError,
        BrakeError,
        CacheError,
        CatalogClosedError,
        CertificateError,
        ConflictError,
        CredentialError,
        CutShortError,
        DamagedRecordError,
        DeletionDisabledError,
        DeniedError,
        DigestMismatchError,
        DregutilError,
        ErrorDetail,
        InterruptedRunError,
        IntersectionError,
        JournalError,
        LeaseLostError,
        LoginError,
        ManifestError,
        NoCatalogError,
        NoListingError,
        NoRegistryError,
        NotARegistryError,
        NotFoundError,
        OutcomeUnknownError,
        PartialError,
        PlanRefusedError,
        ProtocolError,
        PushedBackError,
        RefusedError,
        RegistryError,
        StorageError,
        StoreAccessError,
        StoreError,
        ThrottledError,
        UnlistableError,
        UnreachableError,
        UsageError,
    )
    from dregutil.inventory.cache_file import CacheFile
    from dregutil.inventory.contents.measured import TotalUsage, UsageRow
    from dregutil.inventory.crawl_result import ContentsProgress, CrawlProgress, CrawlResult
    from dregutil.inventory.health.registry import Checkup
    from dregutil.inventory.health.storage import Finding, Flaw
    from dregutil.inventory.inspect import InspectedImage
    from dregutil.inventory.tags import Inventory
    from dregutil.journal.record import RunRecord
    from dregutil.journal.removed_images import RemovedImage
    from dregutil.oci.image import ImageDetails
    from dregutil.oci.names import Digest, Reference, RegistryAddress, Repository, Tag
    from dregutil.plan.cleanup import Proposal
    from dregutil.plan.file import load_plan, plan_sum, save_plan
    from dregutil.plan.model import Action, Kept, Plan, Reclaim, RemovalOptions, Step, StepKind
    from dregutil.plan.outcome import Outcome, Result, RunResult
    from dregutil.plan.why import Explanation
    from dregutil.pulls.pull import SourceKind
    from dregutil.retention.asked import Engine, Kubernetes
    from dregutil.retention.explain import Factor
    from dregutil.retention.holds import Hold
    from dregutil.retention.policy import DoomedList, Expires, InUseList, NameList, PolicySet
    from dregutil.retention.policyfile import Floor, Keep, Policy, PolicyError, Protect, RegexGroup, Select, policy_set
    from dregutil.retention.pull_rules import PullSource
    from dregutil.retention.verdict import Decision, Verdict
    from dregutil.select.find import Use
    from dregutil.select.query import Selectors
    from dregutil.select.selection import MatchRules
    from dregutil.session import AsyncSession, Session, connect, load_policy, open  # noqa: A004 - as one opens a file
    from dregutil.session.base import Options, Progress
    from dregutil.session.results import Found, ImageTag, Overview, StorageCheckup, Weighed
    from dregutil.session.stop import Stop
    from dregutil.storage.collector import Collector

__version__ = "3.0.0"

_PLACES = {
    "dregutil.apply.progress": ("RunProgress",),
    "dregutil.apply.undo.plan": (
        "UndoEntry",
        "UndoPlan",
    ),
    "dregutil.apply.undo.run": (
        "UndoResult",
        "UndoRun",
    ),
    "dregutil.errors": (
        "AccessError",
        "BrakeError",
        "CacheError",
        "CatalogClosedError",
        "CertificateError",
        "ConflictError",
        "CredentialError",
        "CutShortError",
        "DamagedRecordError",
        "DeletionDisabledError",
        "DeniedError",
        "DigestMismatchError",
        "DregutilError",
        "ErrorDetail",
        "InterruptedRunError",
        "IntersectionError",
        "JournalError",
        "LeaseLostError",
        "LoginError",
        "ManifestError",
        "NoCatalogError",
        "NoListingError",
        "NoRegistryError",
        "NotARegistryError",
        "NotFoundError",
        "OutcomeUnknownError",
        "PartialError",
        "PlanRefusedError",
        "ProtocolError",
        "PushedBackError",
        "RefusedError",
        "RegistryError",
        "StorageError",
        "StoreAccessError",
        "StoreError",
        "ThrottledError",
        "UnlistableError",
        "UnreachableError",
        "UsageError",
    ),
    "dregutil.inventory.cache_file": ("CacheFile",),
    "dregutil.inventory.crawl_result": (
        "ContentsProgress",
        "CrawlProgress",
        "CrawlResult",
    ),
    "dregutil.inventory.contents.measured": (
        "TotalUsage",
        "UsageRow",
    ),
    "dregutil.inventory.health.registry": ("Checkup",),
    "dregutil.inventory.health.storage": (
        "Finding",
        "Flaw",
    ),
    "dregutil.inventory.inspect": ("InspectedImage",),
    "dregutil.inventory.tags": ("Inventory",),
    "dregutil.journal.record": ("RunRecord",),
    "dregutil.journal.removed_images": ("RemovedImage",),
    "dregutil.oci.image": ("ImageDetails",),
    "dregutil.oci.names": (
        "Digest",
        "Reference",
        "RegistryAddress",
        "Repository",
        "Tag",
    ),
    "dregutil.plan.cleanup": ("Proposal",),
    "dregutil.plan.file": (
        "load_plan",
        "plan_sum",
        "save_plan",
    ),
    "dregutil.plan.model": (
        "Action",
        "Kept",
        "Kubernetes",
        "Plan",
        "Reclaim",
        "RemovalOptions",
        "Step",
        "StepKind",
    ),
    "dregutil.plan.outcome": (
        "Outcome",
        "Result",
        "RunResult",
    ),
    "dregutil.plan.why": ("Explanation",),
    "dregutil.retention.explain": ("Factor",),
    "dregutil.retention.holds": ("Hold",),
    "dregutil.retention.verdict": (
        "Decision",
        "Verdict",
    ),
    "dregutil.retention.asked": (
        "Engine",
        "Kubernetes",
    ),
    "dregutil.retention.policy": (
        "DoomedList",
        "Expires",
        "InUseList",
        "NameList",
        "PolicySet",
    ),
    "dregutil.retention.pull_rules": ("PullSource",),
    "dregutil.pulls.pull": ("SourceKind",),
    "dregutil.retention.policyfile": (
        "Floor",
        "Keep",
        "Policy",
        "PolicyError",
        "Protect",
        "RegexGroup",
        "Select",
        "policy_set",
    ),
    "dregutil.select.find": ("Use",),
    "dregutil.select.query": ("Selectors",),
    "dregutil.select.selection": ("MatchRules",),
    "dregutil.session": (
        "AsyncSession",
        "Session",
        "connect",
        "load_policy",
        "open",
    ),
    "dregutil.session.base": (
        "Options",
        "Progress",
    ),
    "dregutil.session.results": (
        "Found",
        "ImageTag",
        "Overview",
        "StorageCheckup",
        "Weighed",
    ),
    "dregutil.session.stop": ("Stop",),
    "dregutil.storage.collector": ("Collector",),
}
_PLACE_OF = {name: place for place, names in _PLACES.items() for name in names}

__all__ = [
    "AccessError",
    "Action",
    "AsyncSession",
    "BrakeError",
    "CacheError",
    "CacheFile",
    "CatalogClosedError",
    "CertificateError",
    "Checkup",
    "Collector",
    "ConflictError",
    "ContentsProgress",
    "CrawlProgress",
    "CrawlResult",
    "CredentialError",
    "CutShortError",
    "DamagedRecordError",
    "Decision",
    "DeletionDisabledError",
    "DeniedError",
    "Digest",
    "DigestMismatchError",
    "DoomedList",
    "DregutilError",
    "Engine",
    "ErrorDetail",
    "Expires",
    "Explanation",
    "Factor",
    "Finding",
    "Flaw",
    "Floor",
    "Found",
    "Hold",
    "ImageDetails",
    "ImageTag",
    "InUseList",
    "InspectedImage",
    "InterruptedRunError",
    "IntersectionError",
    "Inventory",
    "JournalError",
    "Keep",
    "Kept",
    "Kubernetes",
    "LeaseLostError",
    "LoginError",
    "ManifestError",
    "MatchRules",
    "NameList",
    "NoCatalogError",
    "NoListingError",
    "NoRegistryError",
    "NotARegistryError",
    "NotFoundError",
    "Options",
    "Outcome",
    "OutcomeUnknownError",
    "Overview",
    "PartialError",
    "Plan",
    "PlanRefusedError",
    "Policy",
    "PolicyError",
    "PolicySet",
    "Progress",
    "Proposal",
    "Protect",
    "ProtocolError",
    "PullSource",
    "PushedBackError",
    "Reclaim",
    "Reference",
    "RefusedError",
    "RegexGroup",
    "RegistryAddress",
    "RegistryError",
    "RemovalOptions",
    "RemovedImage",
    "Repository",
    "Result",
    "RunProgress",
    "RunRecord",
    "RunResult",
    "Select",
    "Selectors",
    "Session",
    "SourceKind",
    "Step",
    "StepKind",
    "Stop",
    "StorageCheckup",
    "StorageError",
    "StoreAccessError",
    "StoreError",
    "Tag",
    "ThrottledError",
    "TotalUsage",
    "UndoEntry",
    "UndoPlan",
    "UndoResult",
    "UndoRun",
    "UnlistableError",
    "UnreachableError",
    "UsageError",
    "UsageRow",
    "Use",
    "Verdict",
    "Weighed",
    "__version__",
    "connect",
    "load_plan",
    "load_policy",
    "open",
    "plan_sum",
    "policy_set",
    "save_plan",
]


def __getattr__(name: str) -> object:
    place = _PLACE_OF.get(name)
    if place is None:
        raise AttributeError(f"module 'dregutil' has no attribute {name!r}")
    import importlib

    found = getattr(importlib.import_module(place), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
