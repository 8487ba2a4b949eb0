"""Selectors that together match every version, decided by a few probes: the same as asking a crowd of odd tags."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import example, given
from hypothesis import strategies as st

from dregutil.select.every_version import every_version
from dregutil.select.selector import Comparison, TagSelector, parse_selector
from dregutil.select.version import read_version

_NUMBERS = ("0", "0.0.1", "1", "1.2", "1.2.0.1", "1.3", "1.10", "2", "2024.5.31", "2024.6.1", "20.6", "104")
_SUFFIXES = ("", "-dev", "-alpha", "-alpha1", "-m2", ".beta.3", "-rc", "-rc1", "-rc2", "-0", "-alpine", "-alpine0")
_MORE = ("-alpine3", "-alpine3-", "-alpine3.9", "-alpine3.10", "_7.1", "-slim", "-rc1-alpine", "-zzz", ".SP1")
CROWD = [f"{word}{numbers}{suffix}" for word in ("", "pr-") for numbers in _NUMBERS for suffix in _SUFFIXES + _MORE]
PLAIN = {
    tag: read
    for tag in CROWD
    if (read := read_version(tag)).meant is not None and read.rival is None and not read.is_doubtful
}

_versions = st.builds(
    "{}{}{}".format, st.sampled_from(["", "", "", "pr-"]), st.sampled_from(_NUMBERS), st.sampled_from(_SUFFIXES)
)
_comparisons = st.builds("{}{}".format, st.sampled_from(["<", "<=", "==", ">=", ">"]), _versions)
_selectors = st.one_of(_comparisons, st.builds("{} {}".format, _comparisons, _comparisons))


def is_every(texts: Sequence[str], word: str) -> bool:
    """Asks every tag of the crowd that has this word, and the nearest above each version that is named."""
    selector = TagSelector.build(texts)
    asked = {tag for tag, reading in PLAIN.items() if reading.meant is not None and reading.meant.word == word}
    return all(map(selector.matches, asked))


@given(st.lists(_selectors, min_size=1, max_size=4, unique=True))
@example([">=1.2", "<1.3"])
@example(["<1.2", ">1.2"])
@example(["<=1.2", ">1.2"])
@example([">=1.2 <1.3", "<1.2", ">1.2.0.1"])
@example(["<=1.2", ">=1.2-alpine"])
@example(["<1.2-rc", ">=1.2-rc"])
@example([">=0", "<1"])
@example([">=2024-06-01", "<2024-06-01"])
def test_the_probes_decide_as_a_crowd_of_tags_does(texts: list[str]) -> None:
    found = every_version(texts, TagSelector.build(texts).include)
    covered = [word for word in ("", "pr") if is_every(texts, word)]
    if found is not None:
        assert found.word in covered
        assert is_every(found.given, found.word)
        assert set(found.given) <= set(texts)
        for text in found.given:
            assert not is_every([one for one in found.given if one != text], found.word), "the fewest"
        if found.meant:
            assert any(map(parse_selector(found.meant).matches, CROWD + list(PLAIN)))
    alone = {word for word in covered for text in texts if is_every([text], word)}
    if found is None:
        assert set(covered) <= alone, "it covers the crowd, and some probe not: add the probe's tag to the crowd"


@given(st.lists(_selectors, min_size=2, max_size=3, unique=True))
def test_the_form_that_is_meant_selects_what_all_of_them_select(texts: list[str]) -> None:
    found = every_version(texts, TagSelector.build(texts).include)
    if found is None or not found.meant:
        return
    one = parse_selector(found.meant)
    parts = [parse_selector(text) for text in found.given]
    assert not isinstance(one, Comparison)
    for tag in CROWD:
        assert one.matches(tag) == all(part.matches(tag) for part in parts)
