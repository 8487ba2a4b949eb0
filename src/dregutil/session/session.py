"""The asynchronous session with all its methods."""

from __future__ import annotations

from dregutil.session.overview import OverviewSession

__all__ = ["AsyncSession"]


class AsyncSession(OverviewSession):
    """A connection to one registry, with everything that can be done there.

    async with dregutil.connect("registry.example.com") as registry:
        plan = await registry.plan_removal("shop/web", tags=["<1.4"])
        run = await registry.apply(plan)

    To read: `tags`, `contents`, `inspect`, `find`, `disk_usage`, `check`, `why`. To plan, which changes nothing:
    `plan_removal`, `plan_repository_removal`, `plan_cleanup`. To remove and put back: `apply`, `resume`, `undo`; `runs`
    lists what is recorded, `removed_images` what can still come back. To collect the garbage of a registry:
    `plan_collection`, `collect`. To keep: `hold`, `holds`, `end_hold`. When images
    were last pulled: `pulls`, `listen`, `read_pulls`,
    `sync_pulls`. The other methods are the parts of these.
    """
