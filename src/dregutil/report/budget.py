"""What budgets in bytes left, and what they could not reach, as lines."""

from __future__ import annotations

from collections.abc import Iterator

from dregutil.plan.cleanup import Proposal
from dregutil.report.units import plural, size_text

__all__ = ["budget_lines", "free_lines"]


def budget_lines(proposal: Proposal) -> Iterator[str]:
    """What each policy with `keep_under` refers to, before and after."""
    for one in proposal.judged.budgets:
        fits = f"{size_text(one.before)} now, {size_text(one.after)} then"
        yield f"keep_under of {one.policy}: {fits}, of {size_text(one.budget)}"
        if one.over:
            yield "  it does not fit: something else keeps the rest, which --details names"


def free_lines(written: str, wanted: int, proposal: Proposal) -> Iterator[str]:
    """What `--free` counts as freed already, and what it leaves for later."""
    if proposal.uncollected:
        yield f"--free {written}: {size_text(proposal.uncollected)} of it wait for the registry's garbage collection"
    if proposal.left_by_limit:
        yield f"--free {written} leaves {plural(proposal.left_by_limit, 'tag')} for later runs"
    elif proposal.uncollected + proposal.plan.reclaim.reclaimable_bytes < wanted:
        yield f"--free {written} cannot be reached: nothing else may be removed"
