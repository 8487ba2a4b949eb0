"""`listen`: receives the notifications of a registry until it is ended."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dregutil.cli.address import is_loopback, listening_address
from dregutil.cli.opened import opened
from dregutil.cli.output import note, plural
from dregutil.cli.settings import Settings
from dregutil.errors import UsageError
from dregutil.files import read_text
from dregutil.report.pulls import notification_lines
from dregutil.session.stop import Stop

__all__ = ["listen"]

_LONGEST_TOKEN = 64 * 1024


def listen(args: argparse.Namespace, settings: Settings) -> int:
    host, port = listening_address(args.addr, "127.0.0.1:5099")
    token = "" if args.token_file is None else _token(args.token_file)
    if not token and not is_loopback(host):
        sys.stderr.write(
            f"dregutil: warning: anyone who can reach {args.addr} can make images look used\n"
            "  name a file with a token with --token-file\n"
        )

    def on_ready(host: str, port: int) -> None:
        shown = f"[{host}]" if ":" in host else host
        for line in notification_lines(f"{shown}:{port}", has_token=bool(token)):
            note(settings, line)
        sys.stderr.flush()

    with opened(settings) as registry, _stopped_by_signals() as stop:
        counts = registry.listen(host, port, token=token, ignore=args.ignore_agent, on_ready=on_ready, stop=stop)
    malformed = f"; {plural(counts.malformed, 'malformed event')} left out" if counts.malformed else ""
    note(settings, f"{plural(counts.events, 'event')} recorded{malformed}")
    return 0


def _token(path: str) -> str:
    """Raises UsageError."""
    try:
        token = read_text(Path(path), _LONGEST_TOKEN).strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(f"--token-file {path} cannot be read: {why}") from error
    if not token or any(character.isspace() for character in token):
        raise UsageError(f"--token-file {path}: it holds no token", advice="write one word into it")
    return token


@contextmanager
def _stopped_by_signals() -> Iterator[Stop]:
    """A `Stop` that SIGINT and SIGTERM set."""
    stop = Stop()
    before = {one: signal.signal(one, lambda *_: stop.set()) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
