"""Opens the session that a command works with; its progress and warnings go to standard error."""

from __future__ import annotations

import sys
from contextlib import suppress

from dregutil.cli.repositories import listed_repositories
from dregutil.cli.settings import Settings
from dregutil.cli.source import tell_noted, tell_read, tell_unreadable
from dregutil.files import make_private_folder
from dregutil.report.progress import ProgressLine
from dregutil.report.progress_pipe import progress_pipe
from dregutil.session.sync import Session

__all__ = ["opened"]


def opened(settings: Settings) -> Session:
    """The registry that the command line names, with all its options. Raises UsageError if it names none."""
    line = progress_pipe() or ProgressLine(show=sys.stderr.isatty() and not settings.quiet)
    path, address = settings.repositories_from, settings.address
    if settings.name and settings.cache is not None and not settings.cache.parent.exists():
        with suppress(OSError):  # it is a warning that the cache file cannot be written
            make_private_folder(settings.cache.parent)
    return Session(
        address,
        user=settings.user,
        password=settings.password,
        digest_auth=settings.digest_auth,
        client_cert=settings.client_cert,
        client_key=settings.client_key,
        verify=settings.verify,
        use_get_manifest=settings.use_get_manifest,
        concurrency=settings.concurrency,
        timeout=settings.timeout,
        insecure=settings.insecure,
        credential_source=settings.credential_source,
        authfile=settings.authfile,
        api=settings.api,
        api_repository=settings.api_repository,
        state_dir=settings.state_dir,
        store=settings.store,
        contents=settings.contents,
        cache=settings.cache,
        refresh=settings.refresh,
        storage=settings.storage,
        repositories=None if path is None else lambda: listed_repositories(path, address),
        on_progress=lambda progress: line(progress),
        on_warning=_warn,
        on_read=lambda found: tell_read(settings, found),
        on_noted=lambda noted: tell_noted(settings, noted),
        on_unreadable=tell_unreadable,
        advise=settings.advised,
        command=settings.command,
    )


def _warn(message: str, advice: str) -> None:
    sys.stderr.write(f"dregutil: warning: {message}\n")
    if advice:
        sys.stderr.write(f"  {advice}\n")
