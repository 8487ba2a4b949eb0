"""A command of the configuration file that prints a password."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dregutil.errors import CredentialError

__all__ = ["PasswordCommand"]

_TIMEOUT = 60.0  # seconds: enough to type a passphrase
_AGAIN_AFTER = 300.0  # seconds: a password that is refused later than this may have expired


class PasswordCommand:
    """Runs a command when the password is first needed, and keeps what it prints.

    The command is split into words as a shell would, but no shell runs it. It runs in the folder of the configuration
    file, without standard input; its standard error is that of this program. The first line of its output is the
    password. After five minutes it is run again if the registry refuses the password: tokens expire.
    """

    def __init__(
        self, words: Sequence[str], name: str, folder: Path, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`name` is that of the registry."""
        self._words = words
        self._name = name
        self._folder = folder
        self._clock = clock
        self._found: tuple[str, float] | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._words[0]!r}, {self._name!r})"

    def __call__(self) -> str:
        """The password. Raises CredentialError, which names the program and never quotes its output."""
        if self._found is None or self._clock() - self._found[1] >= _AGAIN_AFTER:
            self._found = self._run(), self._clock()
        return self._found[0]

    def _run(self) -> str:
        what = f"password_command of {self._name}: {self._words[0]}"
        try:
            done = subprocess.run(  # noqa: S603 - no shell; the user's own file names the command
                [self._program(what), *self._words[1:]],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                timeout=_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CredentialError(f"{what} did not end within {_TIMEOUT:g} s") from None
        except OSError as error:
            raise CredentialError(f"{what} cannot be run: {error.strerror}") from None
        if done.returncode == -signal.SIGINT:
            raise KeyboardInterrupt
        if done.returncode:
            raise CredentialError(f"{what} failed (exit status {done.returncode})", advice="run it to see why")
        password = done.stdout.partition(b"\n")[0].removesuffix(b"\r").decode(errors="surrogateescape")
        if not password:
            raise CredentialError(f"{what} printed no password", advice="the first line of its output is the password")
        return password

    def _program(self, what: str) -> str:
        """The path of the program. A name with a slash starts from the folder of the file, not from the current one."""
        if "/" in self._words[0]:
            return str(self._folder / Path(self._words[0]).expanduser())
        found = shutil.which(self._words[0])
        if found is None:
            raise CredentialError(f"{what} is not installed", advice="no shell runs it; use sh -c '…' if it needs one")
        return found
