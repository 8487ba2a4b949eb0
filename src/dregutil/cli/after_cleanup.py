"""What follows a cleanup: its report, its metrics, and a message to a webhook.

What is wrong with these options ends the command before it begins. What fails afterwards is a line on standard error:
the cleanup is done, and its exit code stays.
"""

from __future__ import annotations

import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from dregutil import files
from dregutil.cli.configurable import Source
from dregutil.cli.output import note
from dregutil.cli.settings import Settings
from dregutil.errors import UsageError, escaped
from dregutil.notify import Webhook, deliver
from dregutil.plan.cleanup import Proposal
from dregutil.plan.outcome import RunResult
from dregutil.report.after_cleanup.make import Done, cleanup_report
from dregutil.report.after_cleanup.model import CleanupReport

__all__ = ["RunAccount"]

_LONGEST_METRICS = 1 << 20  # bytes
_LONGEST_SECRET = 64 * 1024
_SOURCES = (Source.DEFAULT, Source.FILE, Source.ENVIRONMENT, Source.FLAG)  # the strongest last


@dataclass(frozen=True, slots=True)
class _Targets:
    """Where the account of a run goes; None where it does not."""

    folder: Path | None
    metrics: Path | None
    webhook: Webhook | None

    @property
    def is_empty(self) -> bool:
        return self.folder is None and self.metrics is None and self.webhook is None


@dataclass(slots=True)
class RunAccount:
    """Follows one run of `cleanup`: the command fills in the `proposal`, and `close` writes and sends what was asked
    for. Raises UsageError where that cannot be written or sent, before the run. `is_dry`: with --dry-run; `only_shows`:
    with that or --plan-out."""

    settings: Settings
    is_dry: bool
    only_shows: bool
    proposal: Proposal | None = None
    result: RunResult | None = None
    _started: datetime = field(default_factory=lambda: datetime.now(UTC))
    _clock: float = field(default_factory=time.monotonic)
    _targets: _Targets = field(init=False)

    def __post_init__(self) -> None:
        self._targets = _Targets(
            _checked(self.settings.report, "--report"), _checked_file(self.settings.metrics), _webhook(self.settings)
        )

    def keep_result(self, result: RunResult) -> None:
        self.result = result

    def close(self, code: int = 0, *, error: BaseException | None = None) -> None:
        """Write the report and the metrics, and send the message. `error` is what ended the run."""
        if self._targets.is_empty:
            return
        report = cleanup_report(self._done(code, error))
        self._write_report(report)
        if not self.only_shows:
            self._write_metrics(report)
        self._notify(report)

    def _done(self, code: int, error: BaseException | None) -> Done:
        run = "" if self.result is None else self.result.id
        policy = self.settings.policy
        return Done(
            self.settings.address.name,
            "" if policy is None else files.short_path(policy),
            self._started,
            time.monotonic() - self._clock,
            code,
            self.proposal,
            self.result,
            error,
            self.only_shows,
            self.settings.advised(f"undo {run}").strip("`") if run else "",
            self.settings.team_label or "",
        )

    def _write_report(self, report: CleanupReport) -> None:
        folder = self._targets.folder
        if folder is None:
            return
        from dregutil.report.after_cleanup.markdown import markdown
        from dregutil.report.after_cleanup.objects import json_text, report_object
        from dregutil.report.after_cleanup.page import page

        with _told("the report", folder):
            files.make_private_folder(folder)
            _write(folder / "cleanup.md", markdown(report), 0o600)
            _write(folder / "cleanup.html", page(report), 0o600)
            _write(folder / "cleanup.json", json_text(report_object(report)), 0o600)
            note(self.settings, f"the report is in {folder / 'cleanup.html'}, and beside it as .md and .json")

    def _write_metrics(self, report: CleanupReport) -> None:
        path = self._targets.metrics
        if path is None:
            return
        from dregutil.report.after_cleanup.metrics import last_success, metrics

        with _told("the metrics", path):
            succeeded = last_success(_old_text(path), report.registry)
            _write(path, metrics(report, succeeded=succeeded), 0o644)  # node_exporter is another user

    def _notify(self, report: CleanupReport) -> None:
        webhook = self._targets.webhook
        if webhook is None:
            return
        from dregutil.report.after_cleanup.messages import MessageFormat, format_for, message

        named = self.settings.notify_format
        form = MessageFormat(named) if named else format_for(webhook.url)
        why = deliver(webhook, message(report, form))
        if why:
            sys.stderr.write(
                f"dregutil: warning: the notification was not delivered to {escaped(webhook.host)}: {why}\n"
            )


@contextmanager
def _told(what: str, path: Path) -> Iterator[None]:
    """A file that cannot be written is a line on standard error."""
    try:
        yield
    except OSError as error:
        shown = escaped(str(path))
        sys.stderr.write(f"dregutil: warning: {what} could not be written to {shown}: {error.strerror or error}\n")


def _checked(path: Path | None, option: str) -> Path | None:
    """A path that is not behind another user's link, and not the working folder that was deleted. Raises UsageError."""
    if path is None:
        return None
    link = files.others_link(path)
    if link is not None:
        raise UsageError(f"{option} {path} is refused: {link} is another user's link, or leads to another user's file")
    if option == "--report" and path.exists() and not path.is_dir():
        raise UsageError(f"--report {path}: it is not a folder", advice="name a folder; it is made if it is missing")
    return files.absolute(path)


def _checked_file(path: Path | None) -> Path | None:
    """The file for the metrics. Raises UsageError."""
    path = _checked(path, "--metrics")
    if path is None:
        return None
    if path.is_dir():
        raise UsageError(f"--metrics {path}: it is a folder", advice="name a file in it that ends in .prom")
    if not path.parent.is_dir():
        raise UsageError(f"--metrics {path}: there is no folder {path.parent}")
    _checked(path.parent, "--metrics")
    return path


def _write(path: Path, text: str, mode: int) -> None:
    """Replace a file; the permissions of one that was there stay, otherwise they are `mode`. Raises OSError."""
    if files.others_link(path) is not None:
        raise OSError(0, "it is another user's link, or leads to another user's file")
    target = path.resolve()
    files.check_is_file(target)
    if target.exists():
        mode = stat.S_IMODE(target.stat().st_mode)
    files.write_atomically(target, [text.encode()], mode=mode)


def _old_text(path: Path) -> str:
    """The text of the file before; empty if there is none, or it is something else."""
    try:
        files.check_is_file(path)
        return files.read_text(path, _LONGEST_METRICS)
    except (OSError, UnicodeDecodeError):
        return ""


def _webhook(settings: Settings) -> Webhook | None:
    """Where the message goes. A URL from a stronger source replaces a file from a weaker one, so that a token is sent
    only where it was meant for. Raises UsageError, which never quotes a URL or a token."""
    url, file, token = settings.notify, settings.notify_file, ""
    url_from, file_from = (_SOURCES.index(settings.found[name].source) for name in ("notify", "notify_file"))
    if file is not None and file_from >= url_from:
        file_url, token = _secrets(file)
        if url and file_url and file_from == url_from:
            raise UsageError(f"--notify and {file} both have a URL", advice="leave --notify out")
        url = file_url or url
        if not url:
            raise UsageError(f"--notify-file {file}: no line of it is a URL")
    if not url:
        return None
    webhook = Webhook(url, token)
    try:
        host = webhook.host
    except ValueError:
        raise UsageError(
            "--notify: not a URL of a webhook", advice="it begins with https:// and is not shown here: it is a secret"
        ) from None
    if not webhook.is_private and not settings.insecure:
        raise UsageError(
            f"--notify: a URL of {host} with http:// would be readable on its way, and it is a secret",
            advice="use https://; --insecure allows it",
        )
    return webhook


def _secrets(file: Path) -> tuple[str, str]:
    """The URL and the token of a file, empty where there is none. Raises UsageError."""
    try:
        words = files.read_text(file, _LONGEST_SECRET).split()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(f"--notify-file {file} cannot be read: {why}") from error
    urls = [word for word in words if "://" in word]
    tokens = [word for word in words if "://" not in word]
    if not words or len(urls) > 1 or len(tokens) > 1:
        raise UsageError(f"--notify-file {file}: it holds one URL, one token, or both, a line each")
    return (urls or [""])[0], (tokens or [""])[0]
