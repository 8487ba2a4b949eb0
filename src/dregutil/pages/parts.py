"""A document in parts, which HTML and Markdown show alike: lines of text, and tables. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from dregutil.pages.model import Change, Node, Plan, PlanImage, PlanRow, Report, Week
from dregutil.report.units import age_text, plural, size_text

__all__ = ["Part", "Table", "parts", "plan_of"]

_WHEN = "%Y-%m-%d %H:%M UTC"


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its caption; the columns in `numbers` are aligned to the right. `most` rows suffice where there is
    little room."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[int] = frozenset()
    most: int = 10


@dataclass(frozen=True, slots=True)
class Part:
    """A part with its title. `name` is that of its key in the JSON."""

    name: str
    title: str
    lines: tuple[str, ...] = ()
    tables: tuple[Table, ...] = field(default_factory=tuple)


def parts(report: Report, *, most_images: int | None = None) -> Iterator[Part]:
    """The parts, in the order of a report. `most_images`: so many of each reason are named."""
    yield Part("week", "This week", tables=(_week(report.week, report.made), *_lists(report.week)))
    yield _space(report)
    if report.plan is not None:
        yield plan_of(report.plan, most_images)
    yield _health(report)


def _week(week: Week, made: datetime) -> Table:
    rows = tuple((name, value) for name, value in _facts(week, made) if value)
    return Table("In numbers", ("What", "Now"), rows, most=len(rows))


def _facts(week: Week, made: datetime) -> Iterator[tuple[str, str]]:
    yield "Stored", ("" if week.exact else "at least ") + size_text(week.stored)
    yield "In", f"{plural(week.tags, 'tag')} of {plural(week.repositories, 'repository')}"
    growth = week.growth
    if growth is None:
        yield "Growth", "not known yet: this is the first report"
    else:
        since = f"since {growth.since:{_WHEN}}"
        yield "Growth", f"{_signed(growth.bytes)}, {growth.tags:+,} tags, {since}"
    yield from _run_facts(week)
    pending = week.pending
    if pending.runs:
        what = f"at most {size_text(pending.bytes)} of {plural(pending.tags, 'tag')}, by {plural(pending.runs, 'run')}"
        yield "Waits for the garbage collection", what
        age = "" if pending.oldest is None else age_text((made - pending.oldest).total_seconds())
        yield "Undo holds", f"until the registry collects its garbage; the oldest run was {age} ago: {pending.undo}"
    else:
        yield "Waits for the garbage collection", "nothing that is recorded"
    yield "Broken", "not checked" if week.broken is None else plural(week.broken, "image") if week.broken else "nothing"


def _run_facts(week: Week) -> Iterator[tuple[str, str]]:
    last = week.last_run
    if last is None:
        yield "Last run", "none is recorded"
        return
    how = last.result if not last.failed else f"{last.result}, {plural(last.failed, 'step')} failed"
    if last.undone:
        how += ", undone"
    yield "Last run", f"{last.run}, {age_text(last.age_seconds)} ago: {how}"
    amount = size_text(last.frees) if last.exact else f"at most {size_text(last.frees)}"
    yield "It removed", f"{plural(last.tags, 'tag')}, {plural(last.manifests, 'manifest')}, {amount}"
    if last.collected is not None:
        yield "Its garbage", f"is collected since {last.collected:{_WHEN}}"


def _signed(number: int) -> str:
    return f"{'-' if number < 0 else '+'}{size_text(abs(number))}"


def _lists(week: Week) -> Iterator[Table]:
    if week.lists:
        rows = tuple(
            (
                one.name,
                age_text(one.age_seconds),
                "out of date" if one.stale else "in time",
                "-" if one.images is None else f"{one.images:,}",
                "-" if one.here is None else f"{one.here:,}",
            )
            for one in week.lists
        )
        columns = ("List", "Age", "State", "Images", "Here")
        yield Table("Lists of images in use", columns, rows, frozenset((1, 3, 4)))


def _space(report: Report) -> Part:
    root = report.space.root
    rows = [_space_row(name, node) for name, node in _named(root) if node.kind in ("namespace", "repository", "rest")]
    rows.append(("shared by several namespaces", "", size_text(root.between), "", ""))
    rows.append(("all", f"{root.tags:,}", "", "", size_text(root.reaches)))
    tags = [(name, node) for name, node in _named(root) if node.kind == "tag"]
    tags.sort(key=lambda one: (-one[1].frees, one[0]))
    columns = ("Tags", "Frees if removed", "Shared", "Reaches")
    tables = [Table("Namespaces and repositories", ("What", *columns), tuple(rows), frozenset((1, 2, 3, 4)))]
    if tags:
        shown = tuple(
            (name, size_text(node.frees), size_text(node.shared), size_text(node.reaches)) for name, node in tags[:100]
        )
        tables.append(Table("The tags that free the most", ("Tag", *columns[1:]), shown, frozenset((1, 2, 3))))
    text = "What removing a part alone frees; what it shares with others, no part frees alone. Each blob counts once."
    return Part("space", "Space", (text,), tuple(tables))


def _named(node: Node, above: str = "") -> Iterator[tuple[str, Node]]:
    """The nodes below `node`, each with its whole name."""
    for child in node.children:
        name = _name(child, node, above)
        yield name, child
        yield from _named(child, name)


def _name(child: Node, parent: Node, above: str) -> str:
    if child.kind == "rest":
        of = {"registry": "namespace", "namespace": "repository", "repository": "tag"}.get(parent.kind, "layer")
        return f"{above}: {plural(child.number, f'smaller {of}')}".removeprefix(": ")
    if child.kind == "namespace":
        return f"{child.name}/" if child.name else "(no namespace)"
    return f"{above}:{child.name}" if child.kind == "tag" else child.name


def _space_row(name: str, node: Node) -> tuple[str, ...]:
    if node.kind == "rest":
        return name, "", size_text(node.frees), "", ""
    return name, f"{node.tags:,}", size_text(node.frees), size_text(node.shared), size_text(node.reaches)


def plan_of(plan: Plan, most: int | None) -> Part:
    """The part about a plan, with at most `most` images named in a row; None: all."""
    lines = [*_plan_lines(plan)]
    tables = [*_changes(plan), *_groups(plan, most)]
    return Part("plan", "The next cleanup" if plan.kind == "policy" else "The plan", tuple(lines), tuple(tables))


def _plan_lines(plan: Plan) -> Iterator[str]:
    if plan.refused:
        yield f"REFUSED: {plan.refused}"
    if plan.made is None:
        return
    counted = [
        (plan.tags, "tag"),
        (plan.signature_tags, "signature tag"),
        (plan.untagged, "untagged manifest"),
    ]
    what = ", ".join(plural(number, noun) for number, noun in counted if number) or "nothing"
    frees = size_text(plan.frees) if plan.exact else f"at most {size_text(plan.frees)}"
    yield f"{what} to go, {plan.held_back:,} held back; frees {frees} when the registry collects its garbage"
    yield f"From {plan.source}, made {plan.made:{_WHEN}}; {plan.sum}"
    if plan.command:
        yield f"To carry it out: {plan.command}"
    for name, why in plan.left_out.items():
        yield f"Left as it is: {name}: {why}"


def _changes(plan: Plan) -> Iterator[Table]:
    changes = plan.changes
    if changes is None:
        return
    counts = f"{changes.new:,} new to go, {changes.moved:,} from another digest, {changes.no_longer:,} no longer to go"
    more = f"; {changes.left_out:,} are not shown" if changes.left_out else ""
    rows = tuple(map(_change, changes.rows))
    caption = f"Since the run {changes.run} of {changes.when:{_WHEN}}: {counts}{more}"
    yield Table(caption, ("Image", "", "Frees", "What"), rows, frozenset((2,)))


def _change(one: Change) -> tuple[str, ...]:
    image = f"{one.repository}@{one.digest[:19]}" if one.tag is None else f"{one.repository}:{one.tag}"
    sign = "KEEP" if one.change == "no longer to go" else "REMOVE"
    return image, sign, size_text(one.frees), one.change


def _groups(plan: Plan, most: int | None) -> Iterator[Table]:
    rows = tuple(
        (group.repository, group.policy or "-", *_row(row, most)) for group in plan.groups for row in group.rows
    )
    if rows:
        left = plan.groups_left_out
        caption = "By policy and repository" + (f"; {left:,} that remove the least are not shown" if left else "")
        columns = ("Repository", "Policy", "", "Tags", "Frees", "Because", "Images")
        yield Table(caption, columns, rows, frozenset((3, 4)), most=25)


def _row(row: PlanRow, most: int | None) -> tuple[str, ...]:
    number = row.tags + row.untagged
    return (
        row.action,
        f"{number:,}",
        "" if row.action == "KEEP" else size_text(row.frees),
        row.because,
        _images(row, most),
    )


def _images(row: PlanRow, most: int | None) -> str:
    names = [*map(_image, row.images[:most])]
    left = row.tags + row.untagged - sum(max(1, len(one.tags)) for one in row.images[:most])
    return ", ".join(names) + (f" and {left:,} more" if left and names else "")


def _image(one: PlanImage) -> str:
    return ", ".join(one.tags) if one.tags else one.digest[:19]


def _health(report: Report) -> Part:
    health = report.health
    how = {
        "registry": "Every tag and index was read.",
        "storage": "The registry's own storage was read.",
        "records": "Only what the last reading and the records show; with --check every tag and index is read.",
    }[health.checked]
    rows = tuple((one.check, one.found, one.command or "-") for one in health.findings)
    tables = (Table("Findings", ("What", "Found", "Command"), rows),) if rows else ()
    lines = [how] if rows else [how, "Nothing was found."]
    return Part("health", "Health", tuple(lines), tables)
