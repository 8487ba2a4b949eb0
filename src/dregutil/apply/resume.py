"""A run that was cut off: each intent without an outcome is found carried out, or what was done of it is taken back.

After `kill -9` nothing goes on by itself. `apply --resume` (`session.removal`, then `recorded` and `repository`) begins
here in each repository; `undo` uses `clearing` alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress

from dregutil.apply.clearing import clear_placeholders, unclear_error
from dregutil.apply.put_back import put_back_missing
from dregutil.apply.steps import Steps
from dregutil.errors import RegistryError
from dregutil.oci.names import Repository, Tag
from dregutil.plan.model import Action
from dregutil.plan.outcome import Intent
from dregutil.registry.writer import WritableRegistry

__all__ = ["complete"]


async def complete(
    registry: WritableRegistry, repository: Repository, intents: Sequence[Intent], steps: Steps
) -> tuple[int, ...]:
    """Complete one repository's intents of a run that was cut off; returns the steps found carried out.

    What was carried out only in part is taken back, tags off placeholders first; a step without an outcome then begins
    anew. Raises PartialError where a tag of another user stays on a placeholder, and DregutilError.
    """
    cleared = await clear_placeholders(registry, repository, intents)
    if cleared.unclear:
        raise unclear_error(repository, cleared.unclear)
    listed = frozenset(await registry.tags(repository))
    of_step: dict[int, list[Intent]] = defaultdict(list)
    for intent in intents:
        of_step[intent.step].append(intent)
    open_steps = [number for number in of_step if steps[number].outcome is None]
    done: set[int] = set()
    # What others need comes last in a plan's order, so first here: children before their index.
    for number in sorted(open_steps, reverse=True):
        if await _went(registry, repository, of_step[number], steps[number].step.action, listed):
            done.add(number)
    return tuple(sorted(done))


async def _went(
    registry: WritableRegistry,
    repository: Repository,
    intents: Sequence[Intent],
    action: Action,
    listed: frozenset[Tag],
) -> bool:
    """Whether a step was carried out whole; what was done of it is taken back where it was not.

    `intents` are all of that step, `listed` are the tags that the repository lists.
    """
    manifest = intents[-1].manifest
    tags = tuple(dict.fromkeys(tag for intent in intents for tag in intent.tags))
    found = {tag: await registry.resolve(repository, tag) for tag in tags}
    dangling = [tag for tag in tags if tag in listed and found[tag] is None]
    is_tagged = any(one is not None and one.digest == manifest.digest for one in found.values())
    is_here = is_tagged or await registry.resolve(repository, manifest.digest) is not None
    if action is Action.UNTAG:
        went = is_here and not any(found.values())
        await put_back_missing(registry, repository, manifest, intents[-1].beside)
    else:
        went = not is_here and not dangling
    if not went:
        with suppress(RegistryError):  # the registry lost what it needs: the fresh look that follows decides
            await put_back_missing(registry, repository, manifest, tags)
    return went
