"""How plans come about: a person asks for one, or the program makes tonight's after it has read the registry."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from dregutil.errors import JournalError, UsageError
from dregutil.files import write_private
from dregutil.oci.names import Reference
from dregutil.pages.label import label
from dregutil.plan import approval
from dregutil.serve.answers import RequestError
from dregutil.serve.child import Ended
from dregutil.serve.model import Job
from dregutil.serve.plan_store import StoredPlan
from dregutil.serve.plans import BY_ITSELF, Plans

__all__ = ["MOST_IMAGES", "PlanMaking", "parse_images"]

MOST_IMAGES = 10_000
_PLAN_CODES = (0, 3)  # 3: something was left out, and the plan says so
_SAME_FOR = 24 * 3600  # seconds in which a plan that removes the same is not made again


@dataclass(frozen=True, slots=True)
class _Wanted:
    """`by` is None if nobody asked for it."""

    title: str
    kind: Literal["policy", "selection"]
    by: str | None
    words: Sequence[str]


class PlanMaking:
    """Makes the plans of `plans`."""

    def __init__(self, plans: Plans) -> None:
        self._plans = plans
        self._site = plans.site
        self._last = ""  # the job of the policy's newest plan

    async def of_policy(self, by: str | None) -> Job:
        """Begin the plan of the policy. Raises RequestError (409 without a policy)."""
        policy = self._site.asked.policy
        if policy is None:
            raise RequestError(409, "no policy is configured", "start the server with -f FILE")
        wanted = _Wanted(f"policy {Path(policy).name}", "policy", by, ("cleanup", "-f", policy))
        job = await self._start("plan what the policy removes", wanted)
        self._last = job.id
        self._site.images.build_after(job)  # with its verdicts
        return job

    async def of_images(self, images: Sequence[str], by: str) -> Job:
        """Begin the plan that removes images. Raises RequestError (400, 413) and JournalError."""
        chosen = parse_images(images)
        text = "".join(f"{image}\n" for image in chosen).encode()
        path = self._plans.store.folder / f"{hashlib.sha256(text).hexdigest()[:24]}.images"
        try:
            await asyncio.to_thread(write_private, path, text)
        except OSError as error:
            raise JournalError(f"the selection cannot be kept: {error.strerror or error}") from error
        title = chosen[0] if len(chosen) == 1 else f"{len(chosen):,} images"
        wanted = _Wanted(title, "selection", by, ("remove-tags", f"--images={path}"))
        return await self._start(f"plan the removal of {title}", wanted)

    async def tonight(self) -> None:
        """Make the policy's plan again, because what it was made from has changed; and then the index of images."""
        has_policy = self._site.asked.policy is not None
        if not has_policy or not self._site.images.is_there:
            await self._site.images.build()
        if has_policy and not self._is_waiting():
            await self.of_policy(None)

    def _is_waiting(self) -> bool:
        """Whether a plan of the policy is to be made that has not begun."""
        return any(job.id == self._last and job.state == "waiting" for job in self._site.jobs.all)

    async def _start(self, what: str, wanted: _Wanted) -> Job:
        beside = self._site.folder.work / f"plan-{secrets.token_hex(8)}"
        file, page = beside.with_suffix(".jsonl"), beside.with_suffix(".page")

        async def then(_ended: Ended) -> dict[str, str]:
            return {"plan": (await self._take(file, page, wanted)).sum}

        words = (*wanted.words, f"--plan-out={file}", f"--reasons-out={page}")
        return await self._site.jobs.start(
            "plan", what, wanted.by or BY_ITSELF, words, then=then, done_codes=_PLAN_CODES
        )

    async def _take(self, file: Path, page: Path, wanted: _Wanted) -> StoredPlan:
        """The plan that a process wrote, or an older one that removes the same; it takes the place of those that nobody
        approved."""
        plans = self._plans
        async with plans.lock:
            title = label(wanted.title)
            made = await asyncio.to_thread(plans.store.add, file, page, title=title, kind=wanted.kind, by=wanted.by)
            if wanted.kind == "policy":
                made = await self._only_one(made)
            made = await asyncio.to_thread(plans.store.publish, made.sum, self._site.options.approvals)
            await plans.prune()
        self._site.events.changed("plans")
        return made

    async def _only_one(self, made: StoredPlan) -> StoredPlan:
        plans, now = self._plans, datetime.now(UTC)
        runs = await asyncio.to_thread(plans.records.by_plan)
        for one in plans.store.all:
            facts = plans.facts(one, runs.get(one.sum))
            is_open = approval.state_of(facts, now) in ("waiting", "approved", "expired")
            if one.kind != "policy" or one.sum == made.sum or not is_open:
                continue
            age = (made.made - one.made).total_seconds()
            if one.effect == made.effect and 0 <= age < _SAME_FOR:
                # What somebody has approved stays as they saw it.
                has_approvals = bool(approval.standing(facts, now))
                kept = one if has_approvals else await asyncio.to_thread(plans.store.renew, one.sum, made.sum)
                await asyncio.to_thread(plans.store.remove, made.sum)
                return kept
            if not approval.standing(facts, now) and plans.store.may_replace(one, made):
                await asyncio.to_thread(plans.store.replace, one, now)
        return made


def parse_images(images: Sequence[str]) -> list[str]:
    """The images, each once. Raises RequestError (400, 413) for none, for more than 10,000, and for a text that is not
    `repository:tag`."""
    if not images:
        raise RequestError(400, "no image is selected", "select at least one")
    if len(images) > MOST_IMAGES:
        raise RequestError(413, f"{len(images):,} images are selected, and a plan takes {MOST_IMAGES:,}")
    found: dict[str, None] = {}
    for text in images:
        try:
            image = Reference.parse(text)
        except UsageError as error:
            raise RequestError(400, error.message, error.advice) from error
        if image.tag is None or image.digest is not None or str(image) != text:
            raise RequestError(400, f"{label(text)} is not an image", "name images as repository:tag")
        found[text] = None
    return [*found]
