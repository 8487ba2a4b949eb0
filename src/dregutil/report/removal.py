"""A plan and a run, as lines and as objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from dregutil.oci.names import Digest, parse_signature_tag
from dregutil.plan.brake import braked_repositories
from dregutil.plan.cost import swept_repositories
from dregutil.plan.model import Action, Plan, Reclaim, Step, StepKind
from dregutil.plan.outcome import LostTag, Outcome, Result, RunResult
from dregutil.report.plan_table import in_version_order, kept_lines, repository_lines, step_lines, tags_text
from dregutil.report.text import column_lines, pair_lines
from dregutil.report.units import age_text, duration_text, size_text
from dregutil.storage.collector import Collector

__all__ = [
    "brake_lines",
    "dangling_lines",
    "going_text",
    "held_back",
    "left_lines",
    "lost_by_interruption_line",
    "plan_lines",
    "plan_objects",
    "question",
    "reclaim_lines",
    "removed_lines",
    "removed_steps",
    "signature_tags",
    "summary_lines",
    "tag_lines",
]

_MOST_CANDIDATES = 3  # digests named, of those that a tag may have pointed to


def plan_lines(
    plan: Plan,
    *,
    unmatched: int = 0,
    undo: str = "`dregutil undo`",
    seconds: float | None = None,
    width: int | None = None,
    is_saved: bool = False,
    most: int | None = None,
) -> Iterator[str]:
    """The plan for a person: what is removed, with its children and referrers, and what stays and why. `seconds`: the
    estimated duration; `undo`: the command that undoes it; `width`: that of the terminal; `is_saved`: it was made some
    time ago; `most`: the selected digests to show."""
    yield from step_lines(plan, width=width, most=most)
    several = len({step.repository for step in plan.steps} | {kept.repository for kept in plan.kept}) > 1
    is_short = width is not None
    tags_width = min(max((len(tags_text(kept.tags, is_short=is_short)) for kept in plan.kept), default=0), 40)
    yield from kept_lines(plan.kept, is_short=is_short, with_repository=several, tags_width=tags_width)
    for repository, why in plan.left_out.items():
        yield f"LEFT    {repository}  {why}"
    yield from dangling_lines(plan)
    if unmatched:
        yield f"Not matched: {_count(unmatched, 'tag')}"
    yield from repository_lines(plan, width=width)
    held = held_back(plan)
    for reason, number in plan.kept_before.items():
        yield f"KEEP    {number:,} held back when the plan was made: {reason}"
        held += number
    if plan.steps or held:
        takes = "" if seconds is None else f" · about {duration_text(seconds)}"
        yield f"{going_text(plan.steps)} to go, {held:,} held back{takes}"
    for repository in swept_repositories(plan):
        yield f"{repository} is large: its tags go first, in one sweep, then their manifests"
    if plan.steps:
        yield from reclaim_lines(plan.reclaim, as_of=plan.made_at if is_saved else None)
        yield f"Until then {undo} puts everything back"


def dangling_lines(plan: Plan) -> Iterator[str]:
    """A line for each repository with tags that are listed but were not found in two requests."""
    for repository, tags in plan.dangling.items():
        are, it = ("is", "it points") if len(tags) == 1 else ("are", "they point")
        named = tags_text([f"'{tag}'" for tag in tags])
        yield f"NOTE    {repository}: {named} {are} listed but not found (404): what {it} to was not checked"


def brake_lines(plan: Plan) -> Iterator[str]:
    """The option that a plan needs if it removes most of a repository."""
    braked = braked_repositories(plan)
    if braked:
        more = "" if len(braked) == 1 else f" and {_count(len(braked) - 1, 'other')}"
        counted = f" ({going_text(plan.steps)})" if signature_tags(plan.steps) else ""
        yield f"needs --yes-remove {plan.removed_tags}{counted}: it takes most of {braked[0]}{more}"


def policy_source_lines(plan: Plan, now: datetime) -> Iterator[str]:
    """The policy and the lists that a saved plan was made from, and how long ago that was."""
    if plan.policy is None:
        return
    age = age_text((now - plan.made_at).total_seconds())
    yield f"made from {plan.policy.file}, read {age} ago; a run reads again what it protects"
    for what, lists in (
        ("in use, by", plan.policy.lists),
        ("names, by", tuple((name, seconds) for name, seconds, _ in plan.policy.names)),
        ("to remove, by", plan.policy.doomed),
    ):
        for name, seconds in lists:
            since = plan.made_at - timedelta(seconds=seconds)
            age = age_text((now - since).total_seconds())
            yield f"{what} {name}: as of {since:%Y-%m-%d %H:%M} UTC, {age} ago; a run reads it again"


def question(plan: Plan, registry: str) -> str:
    """The question before a plan is carried out: how much is removed, and from where."""
    manifests = sum(step.action is Action.DELETE for step in plan.steps)
    what = going_text(plan.steps) if plan.removed_tags or plan.removed_untagged else _count(manifests, "manifest")
    if manifests and manifests != plan.removed_untagged:
        what = f"{what} ({_count(manifests, 'manifest')})"
    names = plan.repositories
    return f"Remove {what} of {names[0] if len(names) == 1 else f'{len(names):,} repositories'} from {registry}?"


def going_text(steps: Iterable[Step]) -> str:
    """What is removed, in numbers: `7 tags, 1 signature tag and 2 untagged manifests`. Signature tags removed with
    their subject were not selected, and are counted separately."""
    listed = list(steps)
    signatures = signature_tags(listed)
    counted = [
        (sum(len(step.tags) for step in listed) - signatures, "tag"),
        (signatures, "signature tag"),
        (sum(step.is_untagged for step in listed), "untagged manifest"),
    ]
    *most, last = [_count(number, noun) for number, noun in counted if number] or [_count(0, "tag")]
    return f"{', '.join(most)} and {last}" if most else last


def signature_tags(steps: Iterable[Step]) -> int:
    """The number of signature tags that are removed with their subject."""
    along = [step.tags for step in steps if step.kind in (StepKind.CHILD, StepKind.REFERRER)]
    return sum(parse_signature_tag(tag) is not None for tags in along for tag in tags)


def held_back(plan: Plan) -> int:
    """How many tags and untagged manifests were selected and stay."""
    return sum(max(len(kept.tags), 1) for kept in plan.kept)


def reclaim_lines(reclaim: Reclaim, *, as_of: datetime | None = None) -> Iterator[str]:
    """What the garbage collection frees, exactly or at most. `as_of`: when the plan was made, if some time ago: images
    that share its blobs may have come or gone since."""
    amount = size_text(reclaim.reclaimable_bytes)
    how = "exactly" if reclaim.exact else "at most"
    collects = "collects its garbage with -m" if reclaim.collector is Collector.UNTAGGED else "collects its garbage"
    yield f"Frees {how} {amount} when the registry {collects}{_as_of(as_of)}"
    if reclaim.because:
        yield f"  {reclaim.because}"
    yield from (f"WARNING: {warning}" for warning in reclaim.warnings)


def _as_of(moment: datetime | None) -> str:
    return "" if moment is None else f", as of {moment:%Y-%m-%d %H:%M} UTC, when the plan was made"


def plan_objects(plan: Plan) -> Iterator[dict[str, object]]:
    """The plan as `--format json` shows it: its steps, with the keys of the plan file, then what was selected but
    stays, then the repositories that were left out."""
    for step in plan.steps:
        yield {
            "step": step.number,
            "needs": list(step.needs),
            "action": step.action.value,
            "repository": step.repository,
            "digest": step.digest,
            "tags": list(step.tags),
            "kind": step.kind.value,
            "because": step.because,
            "frees": step.frees,
            "size": step.size,
            "created": None if step.created is None else step.created.isoformat(),
        }
    for entry in plan.kept:
        yield {
            "action": "keep",
            "repository": entry.repository,
            "digest": entry.digest,
            "tags": list(entry.tags),
            "because": entry.reason,
        }
    for repository, why in plan.left_out.items():
        yield {"action": "leave", "repository": repository, "because": why}


def removed_steps(result: RunResult) -> list[Step]:
    """The removed steps that were selected themselves, in the order of the plan: those that the query prints, without
    what was gone already."""
    own = (StepKind.IMAGE, StepKind.INDEX)
    return [outcome.step for outcome in result.of(Result.REMOVED) if outcome.step.kind in own]


def removed_lines(removed: Sequence[Step], *, width: int | None) -> Iterator[str]:
    """A line for each removed digest: in a pipe repository and digest, as the older tool printed them; on a terminal,
    whose `width` is given, with the tags."""
    if width is None:
        return pair_lines([(step.repository, step.digest) for step in removed])
    ordered = sorted(removed, key=lambda step: (step.repository, in_version_order(step.tags)))
    rows = [(step.repository, step.digest, tags_text(step.tags, is_short=True)) for step in ordered]
    return column_lines(rows, width=width) if rows else iter(())


def left_lines(result: RunResult) -> Iterator[str]:
    """A line for each step that was left or failed, and one for all steps that were not tried."""
    untried = sum(not outcome.tried for outcome in result.outcomes)
    if untried:
        why = "the run was ended by an error" if result.error is not None else "the run was interrupted"
        yield f"left: {_count(untried, 'step')} not tried: {why}"
    for outcome in result.outcomes:
        if outcome.tried and not _is_done(outcome):
            step = outcome.step
            tags = f" ({tags_text(step.tags)})" if step.tags else ""
            yield f"{outcome.result.value}: {step.repository} {step.digest.short}{tags}: {outcome.why}"


def tag_lines(result: RunResult, *, undo: str = "`dregutil undo`") -> Iterator[str]:
    """A line for each tag with a problem: lost, put back, broken, removed in the meantime, still listed. `undo`: the
    command that undoes the run."""
    for lost in result.lost:
        yield _lost_line(lost, undo)
    for broken in result.broken:
        yield (
            f"broken: {broken.repository}:{broken.tag} was pushed in the meantime and needs {broken.missing.short}, "
            f"which could not be put back: {broken.why}"
        )
    for repository, tags in result.vanished.items():
        for tag in tags:
            yield (
                f"removed in the meantime: {repository}:{tag} was to stay, and another client removed it: "
                "check whether it is needed"
            )
    for repository, tags in result.still_listed.items():
        yield (
            f"gone, still listed: {repository} {tags_text(tags)}: the manifest is deleted; if the list keeps "
            "the tag, remove it in the registry's own interface"
        )


def _lost_line(lost: LostTag, undo: str) -> str:
    name = f"{lost.repository}:{lost.tag}"
    if lost.mended is not None and lost.is_doubtful:
        return (
            f"in doubt: {name} was deleted with {lost.candidates[0].short}, and is back on {lost.mended.short}, where "
            "it was: check whether another client had moved it"
        )
    if lost.mended is not None:
        return f"put back: {name} was moved to {lost.mended.short} just before that was deleted"
    onto = _some(lost.candidates)
    if len(lost.candidates) == 1:
        why = f" ({lost.why})" if lost.why else ""
        return (
            f"lost: {name} was moved to {onto} just before that was deleted, and is not back{why}: {undo} restores it"
        )
    why = f" ({lost.why})" if lost.why else ""
    return (
        f"lost: {name} was moved in the meantime to {onto}, which were deleted{why}: push it again, or restore these "
        f"with {undo} and tag the right one"
    )


def lost_by_interruption_line(lost: LostTag) -> str:
    """The line of an undo about a tag that the run may have deleted with a digest."""
    name, onto = f"{lost.repository}:{lost.tag}", _some(lost.candidates)
    return (
        f"lost: {name} was to stay, and is gone: another client may have moved it to {onto} just before that was "
        "deleted, and the run was interrupted then: decide which digest it belongs to, and tag that"
    )


def _some(digests: Sequence[Digest]) -> str:
    shown = [digest.short for digest in digests[:_MOST_CANDIDATES]]
    more = len(digests) - len(shown)
    return " or ".join(shown) + (f" or one of {more:,} others" if more else "")


def summary_lines(
    plan: Plan, result: RunResult, *, run: str = "", advised: Callable[[str], str] = str, is_saved: bool = False
) -> Iterator[str]:
    """What a run did, in a few lines. `run` is its name in the record, empty if nothing was sent. `advised` returns a
    command to copy."""
    done = result.of(Result.REMOVED)
    gone = result.of(Result.GONE)
    parts = [f"removed {going_text(outcome.step for outcome in done)} ({_count(_digests(done), 'manifest')})"]
    if gone:
        parts.append(f"{len(gone)} {'was' if len(gone) == 1 else 'were'} gone already")
    parts += [f"{what.value} {len(result.of(what))}" for what in (Result.LEFT, Result.FAILED) if result.of(what)]
    if plan.kept:
        parts.append(f"held back {held_back(plan):,}")
    yield ", ".join(parts)
    if run and not result.is_finished:
        yield f"unfinished: {advised(f'apply --resume {run}')} continues it"
    if run and done:
        yield f"{advised(f'undo {run}')} puts it back, until the registry collects its garbage"
    if done:
        yield _freed_line(plan.reclaim, result, as_of=plan.made_at if is_saved else None)


def _freed_line(reclaim: Reclaim, result: RunResult, *, as_of: datetime | None) -> str:
    """What a run frees: the plan's figure if every step was removed, otherwise at most the sum of the removed steps."""
    is_whole = all(outcome.result is Result.REMOVED for outcome in result.outcomes)
    freed = sum(outcome.step.frees for outcome in result.of(Result.REMOVED))
    amount = size_text(reclaim.reclaimable_bytes if is_whole else max(freed, 0))
    how = "exactly" if reclaim.exact and is_whole else "at most"
    options = " -m" if reclaim.collector is Collector.UNTAGGED else ""
    command = "" if reclaim.is_of_another else f": registry garbage-collect{options} CONFIG"
    return f"{how} {amount} come back when the registry collects its garbage{_as_of(as_of)}{command}"


def _digests(outcomes: Sequence[Outcome]) -> int:
    return sum(outcome.step.action is Action.DELETE for outcome in outcomes)


def _is_done(outcome: Outcome) -> bool:
    return outcome.result.is_done


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
