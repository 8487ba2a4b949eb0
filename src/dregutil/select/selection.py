"""Selected tags → selected digests, and which digests are held back by their other tags.

A digest is selected only if all of its tags are, in every repository. The others are held back, with the reason.
`MatchRules` relaxes that, or makes such a digest an error.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from dregutil.errors import IntersectionError
from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.select.selector import Exact, TagSelector
from dregutil.select.version import tag_order

__all__ = [
    "HeldBack",
    "MatchRules",
    "Selected",
    "Selection",
    "keep_digests",
    "select_images",
    "select_repositories",
    "select_tags",
    "unmatched_tags",
]


@dataclass(frozen=True, slots=True)
class MatchRules:
    """Which tags hold a digest back.

    `match_all_tags`: tags in the selected repositories that were not selected. `ignore_other_repositories`: tags of
    other repositories do not. `raise_…`: such a tag is an error.
    """

    match_all_tags: bool = True
    ignore_other_repositories: bool = False
    raise_intersecting_tag: bool = False
    raise_intersecting_repository: bool = False


@dataclass(frozen=True, slots=True)
class Selected:
    """A digest in one repository, the selected tags on it, and its other tags there (which go with it).

    Without `tags`, the digest is selected as long as it has none. `because` says why it was selected. `may_untag`: if
    the digest stays after all, its tags may be removed alone. `is_named`: all of `tags`, or the digest, were given by
    name, not by a pattern. `with_tags`: all tags that it has when it is read go with it.
    """

    repository: Repository
    digest: Digest
    tags: tuple[Tag, ...]
    other_tags: tuple[Tag, ...] = ()
    because: str = "selected"
    may_untag: bool = True
    is_named: bool = False
    with_tags: bool = False


@dataclass(frozen=True, slots=True)
class HeldBack:
    """A digest that stays although `tags` of it were selected; `holders` (`tag` or `repository:tag`) say why."""

    repository: Repository
    digest: Digest
    tags: tuple[Tag, ...]
    reason: str
    holders: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Selection:
    """Selected and held digests. `absent`: repositories that were named and are not known. `unmatched`: how many tags
    were not selected. `names_repositories`: whole repositories were selected, by name.
    """

    selected: tuple[Selected, ...] = ()
    held: tuple[HeldBack, ...] = ()
    absent: tuple[Repository, ...] = ()
    unmatched: int = 0
    names_repositories: bool = False

    def touched(self) -> Iterator[tuple[Repository, Digest]]:
        """The repository and digest of every entry, held back or not."""
        yield from ((entry.repository, entry.digest) for entry in self.selected)
        yield from ((entry.repository, entry.digest) for entry in self.held)


def keep_digests(selection: Selection) -> Selection:
    """The selection with every digest held back, so that only its tags are removed."""
    tagged = [entry for entry in selection.selected if entry.tags]
    held = [HeldBack(entry.repository, entry.digest, entry.tags, "--untag keeps it") for entry in tagged]
    return replace(selection, selected=(), held=(*held, *selection.held))


def select_tags(
    inventory: Inventory,
    repositories: Sequence[Repository],
    selector: TagSelector,
    rules: MatchRules | None = None,
    *,
    digests: Container[Digest] | None = None,
) -> Selection:
    """Select the digests of the tags in `repositories` that `selector` matches, ordered by repository and version.

    `digests`: only tags on one of these are selected. Raises IntersectionError if `rules` say so, and TypeError if
    `repositories` is a string.
    """

    def matches(tag: Tag, digest: Digest) -> bool:
        return selector.matches(tag) and (digests is None or digest in digests)

    names = {selected.name for selected in selector.include if isinstance(selected, Exact)}
    return _select(
        inventory, _matching(inventory, repositories, matches), selector.excludes, rules or MatchRules(), names
    )


def select_images(
    inventory: Inventory, images: Mapping[Repository, Collection[Tag]], rules: MatchRules | None = None
) -> Selection:
    """Select the digests of single tags of several repositories. Tags that are not there select nothing. Raises
    IntersectionError if `rules` say so."""
    matching = {name: {tag for tag in tags if tag in inventory.tags(name)} for name, tags in images.items()}
    names = {tag for tags in matching.values() for tag in tags}
    return _select(inventory, matching, lambda _: False, rules or MatchRules(), names)


def select_repositories(
    inventory: Inventory, repositories: Sequence[Repository], rules: MatchRules | None = None
) -> Selection:
    """Select all digests of `repositories`. Raises IntersectionError if `rules` say so."""
    matching = _matching(inventory, repositories, lambda *_: True)
    found = _select(inventory, matching, lambda _: False, rules or MatchRules(), ())
    return replace(found, names_repositories=True)


def _matching(
    inventory: Inventory, repositories: Iterable[Repository], matches: Callable[[Tag, Digest], bool]
) -> dict[Repository, set[Tag]]:
    """The tags of each repository that match. Raises TypeError if `repositories` is a string."""
    if isinstance(repositories, str):
        raise TypeError(f"expected a list of repositories, such as [{repositories!r}]")
    return {
        repository: {tag for tag, digest in inventory.tags(repository).items() if matches(tag, digest)}
        for repository in dict.fromkeys(repositories)
    }


def _select(
    inventory: Inventory,
    matching: dict[Repository, set[Tag]],
    excludes: Callable[[str], bool],
    rules: MatchRules,
    names: Collection[str],
) -> Selection:
    """Select the `matching` tags of each repository. `names`: the tags that were given by name."""
    named = tuple(matching)
    shared = inventory.shared({inventory.tags(name)[tag] for name, tags in matching.items() for tag in tags})
    found: list[Selected] = []
    held: list[HeldBack] = []
    for repository in named:
        tags = inventory.tags(repository)
        groups: dict[Digest, list[Tag]] = {}
        for tag in sorted(matching[repository], key=tag_order):
            groups.setdefault(tags[tag], []).append(tag)
        here = _holders(repository, tags)
        for digest, chosen in groups.items():
            holding = _Holding(shared.get(digest) or here[digest], repository, matching, excludes)
            reason, holders = holding.judge(rules, digest)
            if reason:
                held.append(HeldBack(repository, digest, tuple(chosen), reason, holders))
            else:
                others = tuple(sorted(holding.here - set(chosen), key=tag_order))
                is_named = bool(names) and all(tag in names for tag in chosen)
                found.append(Selected(repository, digest, tuple(chosen), others, is_named=is_named))
    return Selection(
        tuple(found),
        tuple(held),
        tuple(repository for repository in named if not inventory.tags(repository)),
        sum(len(inventory.tags(repository)) - len(matching[repository]) for repository in named),
    )


def _holders(repository: Repository, tags: Mapping[Tag, Digest]) -> Mapping[Digest, Sequence[tuple[Repository, Tag]]]:
    found: dict[Digest, list[tuple[Repository, Tag]]] = defaultdict(list)
    for tag, digest in tags.items():
        found[digest].append((repository, tag))
    return found


def unmatched_tags(selection: Selection, inventory: Inventory, live: Mapping[Repository, Collection[Tag]]) -> int:
    """How many tags of the selected repositories were not selected: of those in `live` for repositories that were read
    again, otherwise of those in `inventory`, from which `selection` was made."""
    chosen: dict[Repository, set[Tag]] = {}
    for entry in selection.selected:
        chosen.setdefault(entry.repository, set()).update(entry.tags)
    for held in selection.held:
        chosen.setdefault(held.repository, set()).update(held.tags)
    found = selection.unmatched
    for repository, tags in live.items():
        matched = chosen.get(repository, set())
        found += len(set(tags) - matched) - len(inventory.tags(repository).keys() - matched)
    return found


class _Holding:
    """The other tags of a digest, as seen from one of the selected repositories."""

    def __init__(
        self,
        holders: Iterable[tuple[Repository, Tag]],
        repository: Repository,
        matching: dict[Repository, set[Tag]],
        excludes: Callable[[str], bool],
    ) -> None:
        self.here: set[Tag] = set()
        excluded, beside, elsewhere = [], [], []
        for place, tag in sorted(holders):
            name = str(tag) if place == repository else f"{place}:{tag}"
            if place == repository:
                self.here.add(tag)
            if place not in matching:
                elsewhere.append(name)
            elif excludes(tag):
                excluded.append(name)
            elif tag not in matching[place]:
                beside.append(name)
        self.excluded, self.beside, self.elsewhere = tuple(excluded), tuple(beside), tuple(elsewhere)

    def judge(self, rules: MatchRules, digest: Digest) -> tuple[str, tuple[str, ...]]:
        """Why the digest is held back, and by which tags; empty if it is not."""
        if self.excluded:
            return f"excluded by {_names(self.excluded)}", self.excluded
        if self.beside and rules.match_all_tags:
            if rules.raise_intersecting_tag:
                raise _intersection(digest, self.beside, "--raise-intersecting-tag")
            return f"also {_names(self.beside)}", self.beside
        if self.elsewhere and not rules.ignore_other_repositories:
            if rules.raise_intersecting_repository:
                raise _intersection(digest, self.elsewhere, "--raise-intersecting-repo")
            return f"also {_names(self.elsewhere)}", self.elsewhere
        return "", ()


def _intersection(digest: Digest, holders: tuple[str, ...], option: str) -> IntersectionError:
    return IntersectionError(
        f"{digest.short} is also {_names(holders)}, outside the selection",
        advice=f"select these too, or omit {option}: such digests are then kept",
    )


def _names(names: tuple[str, ...]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
