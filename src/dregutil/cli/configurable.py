"""The options that may also be in the environment or in the configuration file, each declared once."""

from __future__ import annotations

import enum
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dregutil import files
from dregutil.cli.parser import COMMANDS
from dregutil.errors import UsageError

if TYPE_CHECKING:
    from dregutil.store.address import StoreAddress

__all__ = ["OPTIONS", "Found", "Option", "Place", "Source", "is_off", "resolve"]

_OFF = ("", "0", "false", "no", "none")
_FOREVER = float("inf")


class Source(enum.StrEnum):
    """Where a value comes from, the strongest first."""

    FLAG = "flag"
    ENVIRONMENT = "environment"
    FILE = "file"
    DEFAULT = "default"


class Place(enum.Enum):
    """Where the configuration file has a key: in the table of a registry, or at the top."""

    REGISTRY = "registry"
    TOP = "top"


@dataclass(frozen=True, slots=True)
class Form:
    """How a value is written. `what` describes it in errors and documents.

    `given` parses what the command line or a variable says, and raises UsageError. `toml` parses a value of the file;
    its second argument is the file's folder, which relative paths start from. It raises UsageError, and ValueError
    for another type.
    `off_is_unset`: a variable that is off (`0`, `false`) counts as not set.
    """

    what: str
    given: Callable[[Any], object]
    toml: Callable[[object, Path], object]
    off_is_unset: bool = False


@dataclass(frozen=True, slots=True)
class Option:
    """One option. `name` is also its key in the file, if it has a `place` there.

    `flag` is as it is typed, empty without one; `variable` likewise. `means` is what a variable that is set stands for,
    if not its own text. `secret` parses a variable that may have a password where the command line may not.
    """

    name: str
    form: Form
    flag: str = ""
    variable: str = ""
    place: Place | None = Place.REGISTRY
    default: object = None
    means: str = ""
    secret: Callable[[str], object] | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A value, and where it comes from. `where` is the option, the variable or the file; empty for a default."""

    value: Any
    source: Source
    where: str = ""


def resolve(
    option: Option, given: Mapping[str, Any], env: Mapping[str, str], table: Mapping[str, object], file: str
) -> Found:
    """The value of an option: the command line comes before the environment, and that before `table`, which was read
    from `file`. Raises UsageError."""
    flag = given.get(option.name)
    if flag is not None:
        return Found(option.form.given(flag), Source.FLAG, option.flag)
    text = env.get(option.variable) if option.variable else None
    if text and not (option.form.off_is_unset and is_off(text)):
        parse = option.secret or option.form.given
        return Found(parse(option.means or text), Source.ENVIRONMENT, option.variable)
    if option.name in table:
        return Found(table[option.name], Source.FILE, file)
    return Found(option.default, Source.DEFAULT)


def is_off(value: str) -> bool:
    """Whether a text switches something off: `None`, `false`, `no`, `0`, or nothing at all."""
    return value.strip().lower() in _OFF


def _text(value: object, _folder: Path) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def _texts(value: object, folder: Path) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError
    return tuple(_text(one, folder) for one in value)


def _path(value: object, folder: Path) -> Path:
    return folder / Path(_text(value, folder)).expanduser()


def _location(value: object, folder: Path) -> str:
    """A path, or a URL, which stays as it is."""
    text = _text(value, folder)
    return text if "://" in text else str(_path(text, folder))


def _switch(value: object, _folder: Path) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _verify(value: object, folder: Path) -> Path | bool:
    return value if isinstance(value, bool) else _path(value, folder)


def _url(value: object, folder: Path) -> str | None:
    return None if value is False else _text(value, folder)


def _unless_off(value: object, folder: Path) -> Path | None:
    return None if value is False else _path(value, folder)


def _whole(value: object, _folder: Path) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError
    return value


def _seconds(value: object, _folder: Path) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < _FOREVER:
        raise ValueError
    return float(value)


def _words(value: object, folder: Path) -> tuple[str, ...]:
    """A command, split as a shell would; no shell runs it. Raises ValueError for an open quote, too."""
    words = shlex.split(_text(value, folder))
    if not words:
        raise ValueError
    return tuple(words)


def _color(value: object, _folder: Path) -> str:
    if value not in ("auto", "never"):
        raise ValueError
    return str(value)


def _confirm(value: object, _folder: Path) -> str:
    if value not in ("auto", "always"):
        raise ValueError
    return str(value)


def _message_format(value: object, _folder: Path) -> str:
    if value not in ("generic", "slack", "teams"):
        raise ValueError
    return str(value)


def _given_path(text: str) -> Path | None:
    return Path(text).expanduser() if text else None


def _given_verify(text: str) -> Path | bool:
    if not text:
        return True  # also `-v "$CA"` with CA unset: an empty value must not switch verification off
    if text in COMMANDS:
        raise UsageError(
            f"-v {text}: this is a command, not a CA bundle",
            advice=f"-v names a CA bundle here, it is not 'verbose': write `dregutil {text}`, or -v FILE {text}",
        )
    return False if is_off(text) else Path(text).expanduser()


def _given_seconds(value: float) -> float:
    if not 0 < value < _FOREVER:
        raise UsageError(f"--timeout {value:g}: it must be more than 0 seconds", advice="the default is 30")
    return value


def _given_whole(value: int | str) -> int:
    try:
        number = int(value)
    except ValueError:
        number = 0
    if number < 1:
        raise UsageError(
            f"--concurrency {value}: it must be a whole number of at least 1",
            advice="the default is 32; DREGUTIL_CONCURRENCY sets it, too",
        )
    return number


def _store(text: str, *, may_have_password: bool = True) -> StoreAddress | None:
    from dregutil.store.address import StoreAddress  # a query without a store starts faster

    return None if is_off(text) else StoreAddress.parse(text, may_have_password=may_have_password)


def _given_store(text: str) -> StoreAddress | None:
    return _store(text, may_have_password=False)


def _configured_store(value: object, folder: Path) -> StoreAddress | None:
    found = _store(_text(value, folder)) if value is not False else None
    if found is not None and found.password({}) is not None:
        raise UsageError(
            "a password does not belong in this file",
            advice="remove it; name a file with it in DREGUTIL_STORE_PASSWORD_FILE, or use PGPASSFILE or PGPASSWORD",
        )
    return found


TEXT = Form("a string", str, _text)
NAMES = Form("an array of strings", tuple, _texts)
PATH = Form("a path", _given_path, _path)
FOLDER = Form("a path", lambda text: files.absolute(Path(text)), _path)
FILE_NAME = Form("a path", str, lambda value, folder: str(_path(value, folder)))
LOCATION = Form("a path or URL", lambda text: None if is_off(text) else text, _location)
SWITCH = Form("true or false", lambda value: not is_off(str(value)), _switch, off_is_unset=True)
VERIFY = Form("a path or false", _given_verify, _verify)
UNLESS_OFF = Form("a path or false", lambda text: None if is_off(text) else _given_path(text), _unless_off)
WHOLE = Form("a whole number of at least 1", _given_whole, _whole)
SECONDS = Form("a number above 0", _given_seconds, _seconds)
WORDS = Form("a command, with its quotes closed", shlex.split, _words)
CONFIRM = Form('"auto" or "always"', str, _confirm, off_is_unset=True)
STORE = Form("a URL or false", _given_store, _configured_store)
URL = Form("a URL or false", lambda text: None if is_off(text) else text, _url)
MESSAGE_FORMAT = Form('"generic", "slack" or "teams"', str, _message_format)
COLOR = Form('"auto" or "never"', str, _color)

OPTIONS = (
    Option("user", TEXT, "-u", "REGISTRY_USER"),
    Option("password_command", WORDS, default=()),
    Option("digest_auth", SWITCH, "--digest-auth", "REGISTRY_USE_DIGEST_AUTH", default=False),
    Option("client_cert", PATH, "-cert", "REGISTRY_CLIENT_CERT"),
    Option("client_key", PATH, "-key", "REGISTRY_CLIENT_KEY"),
    Option("verify", VERIFY, "-v", "REQUESTS_CA_BUNDLE", default=True),
    Option("insecure", SWITCH, "--insecure", default=False),
    Option("cache", UNLESS_OFF, "-c", "DOCKER_UTIL_CACHEFILE"),
    Option("use_get_manifest", SWITCH, "--use-get-manifest", "DOCKER_UTIL_GET_MANIFEST", default=False),
    Option("concurrency", WHOLE, "--concurrency", "DREGUTIL_CONCURRENCY", default=32),
    Option("timeout", SECONDS, "--timeout", default=30.0),
    Option("api", TEXT, "--api"),
    Option("api_repository", TEXT, "--api-repository"),
    Option("repositories_from", FILE_NAME, "--repositories-from"),
    Option("storage", LOCATION, "--storage"),
    Option("policy", PATH, "-f"),
    Option("aliases", NAMES, default=()),
    Option("report", UNLESS_OFF, "--report"),
    Option("team_label", TEXT, "--team-label"),
    Option("metrics", UNLESS_OFF, "--metrics"),
    Option("notify", URL, "--notify", "DREGUTIL_NOTIFY"),
    Option("notify_file", UNLESS_OFF, "--notify-file"),
    Option("notify_format", MESSAGE_FORMAT, "--notify-format"),
    Option("confirm", CONFIRM, "--confirm", "DREGUTIL_CONFIRM", default="auto", means="always"),
    Option("state_dir", FOLDER, "--state-dir", "DREGUTIL_STATE_DIR", Place.TOP),
    Option("store", STORE, "--store", "DREGUTIL_STORE", Place.TOP, secret=_store),
    Option("color", COLOR, "--color", "NO_COLOR", Place.TOP, "auto", means="never"),
)
