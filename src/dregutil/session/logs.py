"""Access logs that policies name: what is new in them is recorded before anything is judged."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dregutil.errors import JournalError, StoreError
from dregutil.session.pulls import PullSession

if TYPE_CHECKING:
    from pathlib import Path

    from dregutil.pulls.log_files import LogRead
    from dregutil.retention.policy import PolicySet
    from dregutil.retention.pull_rules import PullSource

__all__ = ["LogSession"]


class LogSession(PullSession):
    """A session that reads, knows of pulls, and reads the access logs of policies."""

    _warned_of_copy = False

    def _with_logs(self, policies: PolicySet, path: Path | None) -> PolicySet:
        """Policies that know which recorded sources their access logs are; what is new in these is recorded first.
        `path` is the file of the policies. What cannot be recorded counts in this session, and a warning says so.

        Raises RefusedError if a log cannot be read, or a pattern matches no file.
        """
        from dregutil.retention.pulled import asks_for_pulls
        from dregutil.retention.read_lists import policy_folder

        entries = policies.protect.pulls
        if not asks_for_pulls(policies) or not any(entry.files for entry in entries):
            return policies
        folder = policy_folder(path)
        self._copied_pulls = None  # something else may have recorded pulls since
        read = (replace(entry, names=self._read_logs(entry, folder)) if entry.files else entry for entry in entries)
        return replace(policies, protect=replace(policies.protect, pulls=tuple(read)))

    def _read_logs(self, entry: PullSource, folder: Path) -> frozenset[str]:
        """Read the logs of an entry; returns the names of their sources, also of those of which no file is there any
        more: they record nothing now."""
        from dregutil.pulls.find_logs import is_log_of, read_steadily
        from dregutil.pulls.pull import SourceKind

        done = read_steadily(entry.files, folder, lambda path: self._recorded(path, entry.line_format))
        for path, found in done.items():
            if found.lines and found.span is None:
                self._warn(
                    f"{path}: no line has a time that is known, so nothing is known of the pulls in it",
                    "set line_format for its lines, or name other files",
                )
        known = (source.name for source in self._known_pulls.sources() if source.kind is SourceKind.LOG)
        others = (name for name in known if is_log_of(self._path_of_log(name), entry.files, folder))
        return frozenset((*map(self._log_source, done), *others))

    def _path_of_log(self, source: str) -> str:
        return source if self.facts is None else source.partition(":")[2]

    def _recorded(self, path: str, line_format: str | None) -> LogRead:
        """What is new in a log; it is recorded in a copy of the recorded pulls if these cannot be written."""
        from dregutil.pulls.agents import IgnoredAgents

        ignored = IgnoredAgents()
        try:
            return self._read_log(self._known_pulls, path, line_format, ignored)
        except JournalError as error:
            if self._copied_pulls is not None or isinstance(error, StoreError):
                raise  # what other machines recorded since is not known, either
            self._copied_pulls = self._pull_store.copy_in_memory()
            if not self._warned_of_copy:
                self._warn(f"{error.message}; what the access logs say counts in this run only", error.advice)
            self._warned_of_copy = True
            return self._read_log(self._copied_pulls, path, line_format, ignored)
