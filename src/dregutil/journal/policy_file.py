"""Policies from the files of a path."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dregutil.errors import UsageError
from dregutil.files import read_text

if TYPE_CHECKING:
    from dregutil.retention.policy import PolicySet

__all__ = ["load_policy", "policy_text"]

_LONGEST_POLICY = 16 << 20  # bytes


def load_policy(path: str | Path) -> PolicySet:
    """The policies of a file, or of all files in a folder that end in `.yaml` or `.yml`.

    Raises UsageError if one cannot be read, or there is none, PolicyError if they have mistakes.
    """
    from dregutil.retention.policyfile import read_policies, read_policy

    if not Path(path).is_dir():
        return read_policy(_text(path), str(path))
    texts = {str(file): _text(file) for file in _files(Path(path))}
    if not texts:
        raise UsageError(f"there is no policy in {path}", advice="write files that end in .yaml into it")
    return read_policies(texts, str(path))


def policy_text(path: str | Path) -> str:
    """The text of a policy file; of a folder, of its files one after another, each after its name.

    Raises UsageError if one cannot be read.
    """
    if not Path(path).is_dir():
        return _text(path)
    return "".join(f"# {file.name}\n{_text(file)}" for file in _files(Path(path)))


def _files(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.iterdir() if file.suffix in (".yaml", ".yml"))
    return [file for file in files if not file.name.startswith(".")]


def _text(path: str | Path) -> str:
    try:
        return read_text(Path(path), _LONGEST_POLICY)
    except OSError as error:
        raise UsageError(
            f"the policy {path} cannot be read: {error.strerror or error}",
            advice="-f names a policy file, in YAML; the README shows the shortest useful one",
        ) from error
    except ValueError as error:
        raise UsageError(f"the policy {path} is not UTF-8 text") from error
