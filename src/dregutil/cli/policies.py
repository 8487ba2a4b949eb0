"""The policy of a command: that of -f, otherwise that of the registry in the configuration file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from dregutil.cli.settings import Settings
from dregutil.errors import UsageError
from dregutil.retention.policy import PolicySet
from dregutil.session.protected import load_policy

__all__ = ["ChosenPolicy", "chosen_policy"]


@dataclass(frozen=True, slots=True)
class ChosenPolicy:
    """Policies, and the file that they were read from."""

    policies: PolicySet
    file: Path


def chosen_policy(settings: Settings) -> ChosenPolicy:
    """The policies of a command. The aliases of the registry in the configuration count as those of the policy.

    Raises UsageError if no file is named, and as `load_policy` does.
    """
    if settings.policy is None:
        raise UsageError(
            "no policy was named", advice="-f names its file, or `policy` in the configuration of the registry"
        )
    policies = load_policy(settings.policy)
    aliases = dict.fromkeys((*policies.protect.aliases, *settings.aliases))
    protect = replace(policies.protect, aliases=tuple(aliases))
    return ChosenPolicy(replace(policies, protect=protect), settings.policy)
