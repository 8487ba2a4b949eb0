"""A cleanup as lines and as objects: policies, rules, lists of images in use, surprises, and a row for each tag."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby

from dregutil.oci.names import Repository
from dregutil.plan.along import freed_with
from dregutil.plan.cleanup import LastCleanup
from dregutil.plan.model import Kept, Plan
from dregutil.report.layout import Column, table_lines
from dregutil.report.removal import dangling_lines, going_text, held_back, reclaim_lines
from dregutil.report.text import short_tag
from dregutil.report.units import duration_text, size_text
from dregutil.retention.in_use import ListReport
from dregutil.retention.policy import PolicySet
from dregutil.retention.proposal import PolicySummary, RuleSummary
from dregutil.retention.pulled import unknown_rules
from dregutil.retention.verdict import Judgement, Verdict
from dregutil.select.quantity import age_as_written
from dregutil.select.version import tag_order

__all__ = [
    "detail_lines",
    "detail_objects",
    "freed_by_policy",
    "going_lines",
    "list_lines",
    "plan_end_lines",
    "policy_lines",
    "policy_objects",
    "rule_lines",
    "unknown_pull_lines",
]

_MOST_NAMED = 5  # entries of lists that are not in the registry, repositories that lose most of their tags
_DETAILS = (
    Column(""),
    Column("TAG", cut="middle", least=20),
    Column("DATE (UTC)"),
    Column("SIZE", right=True),
    Column("POLICY", cut="end", least=8),
    Column("BECAUSE", cut="end", least=20),
)
_DAY, _MINUTE = "%Y-%m-%d", "%Y-%m-%d %H:%M"  # a terminal has no room for more than the day
_MOST_GOING = 50  # tags named before the question; --details shows all


def freed_by_policy(plan: Plan) -> Mapping[str, int]:
    """Bytes that each policy frees, with the children and referrers of its images."""
    with_along = freed_with(plan.steps)
    freed: Counter[str] = Counter()
    for step in plan.steps:
        if step.number in with_along:
            freed[step.because.partition(": ")[0]] += with_along[step.number]
    return freed


def policy_lines(
    summaries: Sequence[PolicySummary],
    freed: Mapping[str, int],
    last: LastCleanup | None,
    *,
    reviewed_before: str = "",
    width: int | None = None,
) -> Iterator[str]:
    """A line for each policy, with the changes since the last run if it is known.

    `reviewed_before`: what people do with the plan after a review, such as "apply"; then it is not refused.
    """
    since = [] if last is None else [f"SINCE {last.when:%Y-%m-%d %H:%M}"]
    rows = [["POLICY", "TAGS", "KEEP", "REMOVE", "FREES", *since]]
    for one in summaries:
        change = [] if last is None else [_change(one, last)]
        numbers = [f"{number:,}" for number in (one.selected, one.kept, one.removed)]
        name = f"{one.name} (untagged)" if one.untagged else one.name
        rows.append([name, *numbers, size_text(freed.get(one.name, 0)) if one.removed else "-", *change])
    yield from _table(rows, numbers=(1, 2, 3, 4), width=width)
    for one in summaries:
        if not one.selected:
            yield f"warning: the policy {one.name} selects nothing here"
        if one.refused:
            what = f"{one.name} takes {one.taken}, and max_remove is {one.allowed}"
            if reviewed_before:
                yield f"MORE THAN max_remove: {what}: review the plan before you {reviewed_before} it"
            else:
                yield f"REFUSED: {what}: review it with --plan-out, then apply that"


def rule_lines(rules: Sequence[RuleSummary], *, width: int | None = None) -> Iterator[str]:
    """What each rule keeps, what no other rule keeps, and what would be freed without it."""
    rows = [["POLICY", "KEPT BY", "TAGS", "BY IT ALONE", "HOLDS AT MOST"]]
    rows += [
        [rule.policy, rule.rule, f"{rule.tags:,}", f"{rule.alone:,}", size_text(rule.frees) if rule.alone else "-"]
        for rule in rules
    ]
    return _table(rows, numbers=(2, 3, 4), width=width) if rules else iter(())


def list_lines(lists: Iterable[ListReport], *, details: bool = False) -> Iterator[str]:
    """A line for each list of images in use; below it the entries of this registry that do not exist or were not
    understood: the first of them, with `details` all."""
    for one in lists:
        line = (
            f"in use: {one.name}, {age_as_written(one.age)} old: {one.matched:,} of its {one.images:,} images are here"
        )
        yield f"{line}, {one.untagged:,} more by a digest that no tag has" if one.untagged else line
        for what, names in (
            ("of this registry, but not there", one.absent),
            ("not understood", one.doubtful),
            ("of another registry by its host, which may be missing in aliases, and here as well", one.elsewhere),
        ):
            if names:
                shown = names if details else names[:_MOST_NAMED]
                more = f" and {len(names) - len(shown):,} more: --details" if len(shown) < len(names) else ""
                yield f"  {what}: {len(names):,}: {', '.join(shown)}{more}"


def unknown_pull_lines(policies: PolicySet, now: datetime) -> Iterator[str]:
    """A line for each rule that cannot know yet what was pulled."""
    for rule in unknown_rules(policies, now):
        yield f"everything counts as pulled: {rule}"


def plan_end_lines(
    plan: Plan,
    surprises: Sequence[tuple[Repository, int, int]],
    held: int,
    seconds: float,
    refused: Sequence[PolicySummary] = (),
    *,
    undo: str,
    details: bool = False,
) -> Iterator[str]:
    """Surprises, what was left out, and the plan in numbers; if policies are `refused`, that nothing is removed.

    `undo`: the command that undoes the run. `details`: each tag is named already.
    """
    for repository, gone, tags in surprises[:_MOST_NAMED]:
        yield f"loses most of its tags: {repository}, {gone:,} of {tags:,}"
    if len(surprises) > _MOST_NAMED:
        yield f"… and {len(surprises) - _MOST_NAMED:,} more that lose most of their tags"
    for repository, why in plan.left_out.items():
        yield f"LEFT    {repository}  {why}"
    yield from dangling_lines(plan)
    if refused:
        names = ", ".join(one.name for one in refused)
        yield f"REFUSED: nothing would go, because of {names}; without max_remove it would be {going_text(plan.steps)}"
        return
    back = held + held_back(plan)
    yield f"{going_text(plan.steps)} to go, {back:,} held back · about {duration_text(seconds)}"
    if not details:
        yield f"--details names each tag{', and why one is held back' if back else ''}"
    if plan.steps:
        yield from reclaim_lines(plan.reclaim)
        yield f"Until then {undo} puts everything back"


def detail_lines(judgement: Judgement, *, width: int | None = None) -> Iterator[str]:
    """A row for each tag: keep or remove, its date and size, and the rule that decided."""
    return _detail_rows(_sorted(judgement), width)


def going_lines(judgement: Judgement, plan: Plan, *, width: int | None = None) -> Iterator[str]:
    """A row for each of the first tags and untagged manifests that the plan removes, and how many more there are."""
    tags = {(step.repository, tag) for step in plan.steps for tag in step.tags}
    untagged = {(step.repository, step.digest) for step in plan.steps if step.is_untagged}
    going = [
        verdict
        for verdict in _sorted(judgement)
        if (verdict.repository, verdict.facts.tag) in tags
        or (verdict.facts.tag is None and (verdict.repository, verdict.facts.digest) in untagged)
    ]
    yield from _detail_rows(going[:_MOST_GOING], width)
    if len(going) > _MOST_GOING:
        yield f"… and {len(going) - _MOST_GOING:,} more: --details"


def _detail_rows(verdicts: Sequence[Verdict], width: int | None) -> Iterator[str]:
    """In a pipe each row names its image; on a terminal the repository is a line above its rows."""
    if width is None:
        yield from (line.rstrip() for line in table_lines(_DETAILS, [_detail(one, None) for one in verdicts]))
        return
    for repository, group in groupby(verdicts, key=lambda one: one.repository):
        yield repository
        yield from table_lines(_DETAILS, [_detail(one, repository) for one in group], width=width)


def _detail(verdict: Verdict, below: Repository | None) -> tuple[str, ...]:
    """A row; `below` the line with its repository, it needs only the tag."""
    image = _short_image(verdict)
    return (
        verdict.decision.value.upper(),
        image if below is None else image.removeprefix(f"{below}:").removeprefix(f"{below}@"),
        "-" if verdict.date is None else f"{verdict.date.astimezone(UTC):{_DAY if below else _MINUTE}}",
        size_text(verdict.facts.size) if verdict.facts.size else "-",
        verdict.policy or "-",
        ", ".join(map(str, verdict.reasons)),
    )


def _short_image(verdict: Verdict) -> str:
    """The image, with a signature tag shortened: they are long and look alike."""
    tag = verdict.facts.tag
    return verdict.image if tag is None else f"{verdict.repository}:{short_tag(tag)}"


def detail_objects(judgement: Judgement) -> list[dict[str, object]]:
    return [
        {
            "repository": verdict.repository,
            "tag": verdict.facts.tag,
            "digest": verdict.facts.digest,
            "decision": verdict.decision.value,
            "policy": verdict.policy or None,
            "group": "/".join(verdict.group),
            "date": None if verdict.date is None else verdict.date.isoformat(),
            "size": verdict.facts.size,
            "reasons": [reason.text for reason in verdict.reasons],
        }
        for verdict in _sorted(judgement)
    ]


def policy_objects(
    summaries: Sequence[PolicySummary],
    freed: Mapping[str, int],
    last: LastCleanup | None,
    *,
    kept: Sequence[Kept] = (),
    judgement: Judgement | None = None,
) -> list[dict[str, object]]:
    """An object for each policy. `kept`: what `judgement` would remove and the plan holds back."""
    owner = {(one.repository, one.facts.digest): one.policy for one in judgement or ()}
    held: dict[str, list[dict[str, object]]] = defaultdict(list)
    for one in kept:
        held[owner.get((one.repository, one.digest), "")].append(
            {"repository": one.repository, "digest": one.digest, "tags": list(one.tags), "because": one.reason}
        )
    return [
        {
            "policy": one.name,
            "tags": one.selected,
            "keep": one.kept,
            "remove": one.removed,
            "reclaimable_bytes": freed.get(one.name, 0),
            "max_remove": one.allowed,
            "refused": one.refused,
            "removed_last_time": None if last is None else last.removed.get(one.name),
            "held_back": held[one.name],
        }
        for one in summaries
    ]


def _table(rows: Sequence[Sequence[str]], numbers: Sequence[int], width: int | None) -> Iterator[str]:
    """Rows in columns; those in `numbers` are aligned to the right."""
    columns = [
        Column(title, right=place in numbers, cut="" if place in numbers else "middle")
        for place, title in enumerate(rows[0])
    ]
    return table_lines(columns, rows[1:], width=width)


def _sorted(judgement: Judgement) -> list[Verdict]:
    return sorted(judgement, key=_place)


def _place(verdict: Verdict) -> tuple[str, bool, tuple[object, ...]]:
    """By repository, then in version order; untagged manifests come last."""
    tag = verdict.facts.tag
    return (verdict.repository, tag is None, (verdict.facts.digest,) if tag is None else (tag_order(tag),))


def _change(one: PolicySummary, last: LastCleanup) -> str:
    if one.name not in last.selected:
        return "new"
    parts = [
        f"{number:+,} {what}"
        for number, what in (
            (one.selected - last.selected[one.name], "tags"),
            (one.removed - last.removed.get(one.name, 0), "to remove"),
        )
        if number
    ]
    return ", ".join(parts) or "the same"
