"""A plan as JSON lines: a header, a line for each step, and a trailer with a checksum of all lines before it.

A plan of a million steps is written and read one line at a time. A plan that was altered or truncated, or that has
another version, is refused before anything in it is used.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from dregutil.errors import PlanRefusedError, UsageError
from dregutil.files import bounded_lines, write_named
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.model import Action, Grounds, Kept, Plan, PolicySource, Reclaim, RemovalOptions, Step, StepKind
from dregutil.storage.collector import Collector

__all__ = [
    "PolicyEntry",
    "decode_plan",
    "decode_step",
    "encode_plan",
    "encode_step",
    "kind_of_reason",
    "load_plan",
    "plan_sum",
    "read_plan",
    "save_plan",
    "write_plan",
]

VERSION = 1
_ADVICE = "make the plan again with --plan-out"
_LONGEST_PLAN = 8 << 30  # bytes: ten million steps


class _Reclaim(msgspec.Struct, omit_defaults=True):
    reclaimable_bytes: int
    exact: bool
    because: str = ""
    untagged: bool = False
    warnings: list[str] = []
    other_collector: bool = False


class _NameList(msgspec.Struct):
    age: float
    names: int


class PolicyEntry(msgspec.Struct, omit_defaults=True):
    """The policy file of a plan, as plans and records keep it."""

    file: str
    lists: dict[str, float] = {}
    aliases: list[str] = []
    names: dict[str, _NameList] = {}
    doomed: dict[str, float] = {}

    @classmethod
    def of(cls, found: PolicySource) -> PolicyEntry:
        names = {file: _NameList(age, number) for file, age, number in found.names}
        return cls(found.file, dict(found.lists), list(found.aliases), names, dict(found.doomed))

    @property
    def source(self) -> PolicySource:
        names = tuple((file, one.age, one.names) for file, one in self.names.items())
        return PolicySource(
            self.file, tuple(self.lists.items()), tuple(self.aliases), names, tuple(self.doomed.items())
        )


class _Header(msgspec.Struct, kw_only=True):
    version: int
    registry: str
    made_at: datetime
    command: str
    usage: _Reclaim
    kept: dict[str, int]
    options: dict[str, bool] = {}
    tags_before: dict[str, int] = {}
    names_repositories: bool = False
    left_out: dict[str, str] = {}
    dangling: dict[str, list[str]] = {}
    policy: PolicyEntry | msgspec.UnsetType = msgspec.UNSET


class _Grounds(msgspec.Struct, omit_defaults=True):
    named_in: dict[str, tuple[str, ...]] = {}
    doomed_by: dict[str, tuple[str, ...]] = {}
    pulled: datetime | None = None

    @classmethod
    def of(cls, found: Grounds) -> _Grounds:
        return cls(dict(found.named_in), dict(found.doomed_by), found.pulled)

    @property
    def grounds(self) -> Grounds:
        return Grounds(tuple(self.named_in.items()), tuple(self.doomed_by.items()), self.pulled)


class _Step(msgspec.Struct, kw_only=True, omit_defaults=True):
    step: int
    needs: list[int]
    action: Action
    repository: str
    digest: str
    tags: list[str]
    kind: StepKind
    because: str
    platforms: list[str] = []
    size: int = 0
    also_in: list[str] = []
    frees: int = 0
    named: bool = False
    created: datetime | None = None
    grounds: _Grounds | None = None


class _Trailer(msgspec.Struct):
    steps: int
    sha256: str


_encode = msgspec.json.Encoder(enc_hook=str).encode  # Digest, Tag and Repository are subclasses of str
_header = msgspec.json.Decoder(_Header)
_step = msgspec.json.Decoder(_Step)
_NO_GROUNDS = Grounds()
_trailer = msgspec.json.Decoder(_Trailer)


def encode_plan(plan: Plan) -> Iterator[bytes]:
    """The lines of a plan file, each with its newline."""
    summed = hashlib.sha256()
    for line in _lines(plan):
        summed.update(line)
        yield line
    yield _encode(_Trailer(len(plan.steps), summed.hexdigest())) + b"\n"


def plan_sum(plan: Plan) -> str:
    """The checksum that identifies a plan: `sha256:` and the hash of its lines."""
    summed = hashlib.sha256()
    for line in _lines(plan):
        summed.update(line)
    return f"sha256:{summed.hexdigest()}"


def write_plan(path: Path, plan: Plan) -> None:
    """Write a plan to a new file and rename it to `path`, so that a crash leaves no partial plan.

    A link is followed. A pipe or device is written directly. Raises UsageError.
    """
    write_named(path, encode_plan(plan), "the plan")


def read_plan(path: Path) -> tuple[Plan, str]:
    """The plan in a file, and its sum as `plan_sum` writes it. Raises UsageError where the file cannot be read,
    PlanRefusedError where it is not whole."""
    try:
        with path.open("rb") as file:
            return decode_plan(bounded_lines(file, _LONGEST_PLAN))
    except OSError as error:
        raise UsageError(
            f"the plan {path} cannot be read: {error.strerror or error}",
            advice="name a file that --plan-out wrote, or with --resume a run of `dregutil history`",
        ) from error


def load_plan(path: Path | str) -> Plan:
    """The plan that `save_plan` or `--plan-out` wrote. Raises UsageError and PlanRefusedError."""
    return read_plan(Path(path))[0]


def save_plan(plan: Plan, path: Path | str) -> None:
    """Write a plan to a file, for `load_plan` or `dregutil apply`. Raises UsageError."""
    write_plan(Path(path), plan)


def decode_plan(lines: Iterable[bytes]) -> tuple[Plan, str]:
    """Decode a plan. Returns it with its checksum, as `plan_sum` does. Raises PlanRefusedError."""
    summed = hashlib.sha256()
    header: _Header | None = None
    steps: list[Step] = []
    before = b""
    for line in lines:
        if before:
            summed.update(before)
            if header is None:
                header = _read_header(before)
            else:
                steps.append(_read_step(before, len(steps) + 1, steps[-1] if steps else None))
        before = line
    try:
        trailer = _trailer.decode(before)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PlanRefusedError("the plan is truncated: its last line is missing", advice=_ADVICE) from error
    if header is None:
        raise PlanRefusedError("the plan has no header", advice=_ADVICE)
    if trailer.steps != len(steps) or trailer.sha256 != summed.hexdigest():
        raise PlanRefusedError("the plan was altered or truncated: its checksum does not match", advice=_ADVICE)
    return _plan(header, steps), f"sha256:{trailer.sha256}"


def encode_step(step: Step) -> bytes:
    return _encode(
        _Step(
            step=step.number,
            needs=list(step.needs),
            action=step.action,
            repository=step.repository,
            digest=step.digest,
            tags=list(step.tags),
            kind=step.kind,
            because=step.because,
            platforms=list(step.platforms),
            size=step.size,
            also_in=list(step.also_in),
            frees=step.frees,
            named=step.is_named,
            created=step.created,
            grounds=None if step.grounds == _NO_GROUNDS else _Grounds.of(step.grounds),
        )
    )


def decode_step(line: bytes, last: Step | None = None) -> Step:
    """Decode a step. With the `last` one, it shares that one's texts: a plan may have millions of steps. Raises
    UsageError, ValueError or msgspec.MsgspecError if it is not valid."""
    try:
        found = _step.decode(line)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if last is not None and last.repository == found.repository:
        repository = last.repository
    else:
        repository = Repository.parse(found.repository)
    step = Step(
        number=found.step,
        action=found.action,
        repository=repository,
        digest=Digest.parse(found.digest),
        tags=tuple(Tag.parse(tag) for tag in found.tags),
        kind=found.kind,
        because=last.because if last and last.because == found.because else found.because,
        needs=tuple(found.needs),
        platforms=tuple(found.platforms),
        size=found.size,
        also_in=tuple(Repository.parse(name) for name in found.also_in),
        frees=found.frees,
        is_named=found.named,
        created=found.created,
        grounds=_NO_GROUNDS if found.grounds is None else found.grounds.grounds,
    )
    if step.action is Action.UNTAG and len(step.tags) != 1:
        raise UsageError("an untag step has exactly one tag")
    if any(need >= step.number or need < 1 for need in step.needs):
        raise UsageError("a step depends on a later one")
    return step


def kept_counts(kept: Iterable[Kept]) -> dict[str, int]:
    """How many tags, and manifests without a tag, stay, by the kind of reason."""
    counts: Counter[str] = Counter()
    for entry in kept:
        counts[kind_of_reason(entry.reason)] += max(len(entry.tags), 1)
    return dict(counts)


def options_object(options: RemovalOptions) -> dict[str, bool]:
    return {name: getattr(options, name) for name in RemovalOptions.__dataclass_fields__}


def options_from(found: dict[str, Any]) -> RemovalOptions:
    return RemovalOptions(**{name: bool(found.get(name, False)) for name in RemovalOptions.__dataclass_fields__})


def _lines(plan: Plan) -> Iterator[bytes]:
    header = _Header(
        version=VERSION,
        registry=plan.registry,
        made_at=plan.made_at,
        command=plan.command,
        usage=_Reclaim(
            plan.reclaim.reclaimable_bytes,
            plan.reclaim.exact,
            plan.reclaim.because,
            plan.reclaim.collector is Collector.UNTAGGED,
            list(plan.reclaim.warnings),
            plan.reclaim.is_of_another,
        ),
        kept=kept_counts(plan.kept) or dict(plan.kept_before),
        options=options_object(plan.options),
        tags_before={str(name): number for name, number in plan.tags_before.items()},
        names_repositories=plan.names_repositories,
        left_out={str(name): why for name, why in plan.left_out.items()},
        dangling={str(name): list(tags) for name, tags in plan.dangling.items()},
        policy=msgspec.UNSET if plan.policy is None else PolicyEntry.of(plan.policy),
    )
    yield _encode(header) + b"\n"
    for step in plan.steps:
        yield encode_step(step) + b"\n"


def _read_header(line: bytes) -> _Header:
    try:
        version = msgspec.json.decode(line).get("version")
        if version != VERSION:
            raise PlanRefusedError(f"the plan has version {version}, this program reads {VERSION}", advice=_ADVICE)
        return _header.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, AttributeError, RecursionError) as error:
        raise PlanRefusedError("this is not a plan: its first line is not a header", advice=_ADVICE) from error


def _read_step(line: bytes, number: int, last: Step | None) -> Step:
    try:
        step = decode_step(line, last)
    except (msgspec.MsgspecError, UnicodeDecodeError, UsageError, ValueError) as error:
        raise PlanRefusedError(f"the plan was altered: line {number + 1} is not a step", advice=_ADVICE) from error
    if step.number != number:
        raise PlanRefusedError(f"the plan was altered: step {number} has the number {step.number}", advice=_ADVICE)
    return step


def _plan(header: _Header, steps: list[Step]) -> Plan:
    return Plan(
        header.registry,
        header.made_at,
        header.command,
        tuple(steps),
        options=options_from(header.options),
        tags_before={Repository(name): number for name, number in header.tags_before.items()},
        reclaim=Reclaim(
            header.usage.reclaimable_bytes,
            header.usage.exact,
            header.usage.because,
            Collector.of(untagged=header.usage.untagged),
            tuple(header.usage.warnings),
            header.usage.other_collector,
        ),
        names_repositories=header.names_repositories,
        left_out={Repository(name): why for name, why in header.left_out.items()},
        dangling={Repository(name): tuple(map(Tag, tags)) for name, tags in header.dangling.items()},
        kept_before=header.kept,
        policy=header.policy.source if isinstance(header.policy, PolicyEntry) else None,
    )


def kind_of_reason(reason: str) -> str:
    """A reason why something stays, without the names in it."""
    for beginning, kind in (
        ("also ", "shared with tags that stay"),
        ("excluded by", "excluded"),
        ("part of the index", "part of an index that stays"),
        ("part of the manifest", "a layer of what stays"),
        ("held by '", "held by a tag that is listed and not there"),
        ("refers to", "refers to what stays"),
        ("'", "moved"),
    ):
        if reason.startswith(beginning):
            return kind
    return reason
