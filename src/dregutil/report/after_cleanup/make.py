"""A proposal and the result of its run → a report. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from dregutil.errors import DregutilError, InterruptedRunError, RefusedError
from dregutil.oci.names import Repository
from dregutil.plan.along import freed_with
from dregutil.plan.cleanup import Proposal
from dregutil.plan.file import kind_of_reason
from dregutil.plan.model import Step, StepKind
from dregutil.plan.outcome import Result, RunResult
from dregutil.report.after_cleanup.model import MOST_ROWS, CleanupReport, Count, Failure, ListAge, Removed, State
from dregutil.retention.verdict import ReasonKind, Verdict

__all__ = ["Done", "cleanup_report"]

_Key = tuple[str, str]  # a repository, and a tag or, where it has none, a digest
_NameOf = Callable[[Verdict], str]
_MOST_REASONS = 40


@dataclass(frozen=True, slots=True)
class Done:
    """What a run of `cleanup` came to.

    Without `proposal` it failed before anything was judged; without `result` nothing was sent; `error` is what ended
    it. `only_shows`: with --dry-run or --plan-out. `code` is its exit code, `undo` the command that undoes it.
    """

    registry: str
    policy_file: str
    started: datetime
    seconds: float
    code: int
    proposal: Proposal | None = None
    result: RunResult | None = None
    error: BaseException | None = None
    only_shows: bool = False
    undo: str = ""
    team_label: str = ""


def cleanup_report(done: Done) -> CleanupReport:
    """The report on a run."""
    state, why = _state(done)
    failures = tuple(_failures(done, why if state in (State.FAILED, State.PARTLY_FAILED) else ""))
    report = CleanupReport(
        done.registry,
        done.policy_file,
        done.started,
        done.seconds,
        state,
        why,
        done.team_label,
        failures=failures[:MOST_ROWS],
        more_failures=len(failures[MOST_ROWS:]),
        is_success=state in (State.REMOVED, State.NOTHING) and not done.code,
    )
    return report if done.proposal is None else _Counting(done, done.proposal, state).filled(report)


def _state(done: Done) -> tuple[State, str]:
    """How a run ended, and why it did not end well."""
    error, result = done.error, done.result
    if error is not None:
        why = error.message if isinstance(error, DregutilError) else f"an unexpected {type(error).__name__}"
        if isinstance(error, KeyboardInterrupt | InterruptedRunError):
            return State.INTERRUPTED, "interrupted"
        if isinstance(error, RefusedError) and not done.only_shows:
            return State.REFUSED, why
        return State.FAILED, why
    if done.only_shows:
        refused = () if done.proposal is None else done.proposal.refused
        named = ", ".join(f"{one.name} ({one.taken})" for one in refused)
        return State.DRY_RUN, f"a run would be refused: more than max_remove would go: {named}" if named else ""
    if result is None:
        is_idle = done.proposal is not None and not done.proposal.plan.steps
        return (State.NOTHING, "") if is_idle else (State.NOT_CARRIED_OUT, "")
    return _state_of(result)


def _state_of(result: RunResult) -> tuple[State, str]:
    if result.interrupted:
        return State.INTERRUPTED, "interrupted"
    why = "" if result.error is None else result.error.message
    if why or result.of(Result.FAILED) or result.unmended or result.broken or result.still_listed or result.has_open:
        return (State.PARTLY_FAILED if result.removed else State.FAILED), why
    return (State.REMOVED if result.removed else State.NOTHING), ""


def _failures(done: Done, why: str) -> Iterator[Failure]:
    if why:
        yield Failure("", why)
    if done.result is not None:
        for outcome in done.result.of(Result.FAILED):
            yield Failure(_image(outcome.step), outcome.why)
        for lost in done.result.unmended:
            yield Failure(f"{lost.repository}:{lost.tag}", lost.why or "lost with a deleted digest; look at it")
        for broken in done.result.broken:
            yield Failure(f"{broken.repository}:{broken.tag}", broken.why)
        for name, tags in done.result.still_listed.items():
            yield Failure(name, f"still lists {len(tags):,} removed tags")
    if done.proposal is not None:
        for name, error in done.proposal.judged.source.failed.items():
            yield Failure(name, f"not read, and left as it is: {error.message}")
        for name, reason in done.proposal.plan.left_out.items():
            yield Failure(name, f"left as it is: {reason}")
        for digest, error in done.proposal.judged.unread.items():
            yield Failure(digest, f"not read, and kept: {error.message}")


def _image(step: Step) -> str:
    return f"{step.repository}:{', '.join(step.tags)}" if step.tags else f"{step.repository}@{step.digest.short}"


def _keys(steps: Iterable[Step]) -> Iterator[tuple[_Key, Step]]:
    for step in steps:
        for name in step.tags or (step.digest,):
            yield (step.repository, name), step


def _key(verdict: Verdict) -> _Key:
    tag = verdict.facts.tag
    return (verdict.repository, verdict.facts.digest if tag is None else tag)


class _Counting:
    """Counts the verdicts of a proposal by what became of them."""

    def __init__(self, done: Done, proposal: Proposal, state: State) -> None:
        self._done = done
        self._proposal = proposal
        self._state = state
        result = done.result
        if done.only_shows:
            self._steps: tuple[Step, ...] = proposal.plan.steps
            became = dict.fromkeys((key for key, _ in _keys(self._steps)), Result.REMOVED)
            why: dict[_Key, str] = {}
        else:
            outcomes = () if result is None else result.outcomes
            self._steps = () if result is None else tuple(outcome.step for outcome in result.removed)
            became = {key: outcome.result for outcome in outcomes for key, _ in _keys([outcome.step])}
            why = {key: outcome.why for outcome in outcomes for key, _ in _keys([outcome.step])}
        self._became: Mapping[_Key, Result] = became
        self._why = why
        self._verdicts = {_key(verdict): verdict for verdict in proposal.judged.judgement}
        self._held = {(one.repository, one.digest): one.reason for one in proposal.plan.kept}
        self._planned = {key for key, _ in _keys(proposal.plan.steps)}

    def filled(self, report: CleanupReport) -> CleanupReport:
        policies = self._counted(lambda verdict: verdict.policy)
        gone = sorted(self._removed(), key=lambda one: (one.repository, one.tag is None, one.tag or one.digest))
        lists = self._proposal.judged.lists
        return replace(
            report,
            total=self._total(),
            policies=tuple(
                replace(policies.get(one.name, Count(one.name)), untagged=one.untagged)
                for one in self._proposal.summaries
            ),
            teams=tuple(count for _, count in sorted(self._counted(self._team_of).items())),
            removed=tuple(gone[:MOST_ROWS]),
            more_removed=len(gone[MOST_ROWS:]),
            along=sum(step.kind in (StepKind.CHILD, StepKind.REFERRER) for step in self._steps),
            stayed=self._stayed(),
            lists=tuple(ListAge(one.name, one.age.total_seconds(), one.images, one.matched) for one in lists),
            run="" if self._done.result is None or not self._steps else self._done.result.id,
            undo=self._done.undo if self._steps and not self._done.only_shows else "",
            is_exact=self._proposal.plan.reclaim.exact and len(self._steps) == len(self._proposal.plan.steps),
        )

    def _team(self, repository: Repository, verdict: Verdict | None) -> str:
        label = self._done.team_label
        if label:
            return "" if verdict is None else verdict.facts.labels.get(label, "")
        return repository.partition("/")[0]

    def _team_of(self, verdict: Verdict) -> str:
        return self._team(verdict.repository, verdict)

    def _counted(self, name_of: _NameOf) -> dict[str, Count]:
        """The counts of what policies select, by a name of each verdict."""
        selected: Counter[str] = Counter()
        by: dict[Result, Counter[str]] = defaultdict(Counter)
        for key, verdict in self._verdicts.items():
            if verdict.policy:
                name = name_of(verdict)
                selected[name] += 1
                if key in self._became:
                    by[self._became[key]][name] += 1
        freed = self._freed(name_of)
        return {
            name: Count(
                name, number, by[Result.REMOVED][name], by[Result.FAILED][name], by[Result.GONE][name], freed[name]
            )
            for name, number in selected.items()
        }

    def _freed(self, name_of: _NameOf) -> Counter[str]:
        """Bytes by the name of the verdict on each step; a step without one is in no sum but the total."""
        freed: Counter[str] = Counter()
        with_along = freed_with(self._steps)
        for step in self._steps:
            verdict = next((self._verdicts[key] for key, _ in _keys([step]) if key in self._verdicts), None)
            if verdict is not None and step.number in with_along:
                freed[name_of(verdict)] += with_along[step.number]
        return freed

    def _total(self) -> Count:
        whole = self._counted(lambda _: "total").get("total", Count("total"))
        return replace(whole, bytes_freed=sum(step.frees for step in self._steps))

    def _removed(self) -> Iterator[Removed]:
        for key, verdict in self._verdicts.items():
            if self._became.get(key) is Result.REMOVED:
                facts = verdict.facts
                yield Removed(
                    verdict.repository,
                    facts.tag,
                    facts.digest,
                    verdict.policy,
                    self._team_of(verdict),
                    ", ".join(map(str, verdict.reasons)),
                    facts.size,
                )

    def _stayed(self) -> tuple[tuple[str, int], ...]:
        """Reasons, and how many tags and manifests without a tag each keeps, most first."""
        counts: Counter[str] = Counter()
        for key, verdict in self._verdicts.items():
            if self._became.get(key, Result.LEFT) is Result.LEFT:
                counts[self._reason(key, verdict)] += 1
        found = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
        others = sum(number for _, number in found[_MOST_REASONS:])
        return (*found[:_MOST_REASONS], *([("other reasons", others)] if others else ()))

    def _reason(self, key: _Key, verdict: Verdict) -> str:
        if not verdict.goes:
            first = verdict.reasons[0]
            return first.text if first.kind in (ReasonKind.RULE, ReasonKind.NOT_SELECTED) else first.kind.value
        held = self._held.get((verdict.repository, verdict.facts.digest), "")
        if held or self._why.get(key):
            return kind_of_reason(held or self._why[key])
        if verdict.repository in self._proposal.plan.left_out:
            return "its repository is left as it is"
        if key not in self._planned:
            return "left by --limit for later runs"
        return "the run was refused" if self._state is State.REFUSED else "not reached by this run"
