"""Tags as people and programs write them, and unusual ones, for properties."""

from __future__ import annotations

import re

from hypothesis import strategies as st

from oracle_2_0_0.version import parse_version

_small = st.integers(0, 12)
_numbers = st.one_of(
    st.lists(_small, min_size=1, max_size=3).map(lambda parts: ".".join(map(str, parts))),
    st.sampled_from(["1", "1.0", "1.0.2", "2", "2.0", "16", "104.0.0"]),
)
_suffixes = st.sampled_from(
    [
        *["", "", "-alpine", "-alpine3.9", "-alpine3.10", "_7", "_10", "-1", "-r2", ".SP1", "-20240501", "-slim"],
        *["-rc1", "rc2", "-rc.1", "-alpha", ".beta.3", "-SNAPSHOT", "-m2", "-dev", "a1", "-a", ".Beta2", "-M2"],
        *["-preview.7", "-preview.2", "-pre1", "-nightly.3", "-nightly.4", "-ci.7841", "-canary", "-edge", "-next"],
        *["a", "b", "c", "m", "-45c6789", "-1a23456-alpine", "-14-g2414721", "_up0.7.0", "_up0.7.0-rc.1", "_x86_64"],
        *["a-alpine", "b_1", "-rc1_b2", "-rc1-45c6789", "-preview.2-alpine"],
    ]
)
_words = st.sampled_from(["", "", "", "v", "release-", "release-v", "pr-"])
_hashes = st.one_of(
    st.integers(10**6, 10**8).map(str),
    st.from_regex(r"(sha-|main-|feature-x-)?[0-9][0-9a-f]{6,11}(-dirty)?", fullmatch=True),
)
# What 2.1 reads differently on purpose: see the changelog.
_reread = st.one_of(
    st.builds("{}{}".format, _numbers, st.sampled_from(["-ea.2", ".CR1", "-incubating", ".Final", ".GA", "-RELEASE"])),
    st.sampled_from(["20240828", "20240829", "2025-03-26", "2024.01.15", "2024_08", "202408281530", "20240828.1"]),
    st.sampled_from(["1_9_0", "1-9-0", "1_10_0", "1.0.2k", "1.0.2d", "1.4-20240501.123456-7", "20240828-alpine"]),
)
plain = st.one_of(
    st.builds("{}{}{}".format, _words, _numbers, _suffixes),
    _hashes,
    st.sampled_from(["latest", "main", "0a1b2c3", "stable", "1.x", "1.2.x", "5d", "1.4abc", "1."]),
)
any_text = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True)
odd = st.one_of(plain, _reread, any_text)
_versions = st.builds("{}{}{}".format, _words, _numbers, _suffixes)
selectors = st.builds(
    "{}{}".format,
    st.sampled_from(["<", "<=", "==", ">=", ">"]),
    st.one_of(_versions, _versions, _reread, _hashes).filter(lambda text: parse_version(text) is not None),
)

_LISTED = re.compile(
    r"""[._-](ea|eap|cr|incubating|final|ga|release)([._-]?[0-9]*)(?=$|[._+-])  # words after the numbers
    | [0-9]-[0-9]{8}\.[0-9]{6}-[0-9]                                     # Maven's dated snapshots
    | (?<![0-9.])(19[7-9]|20)[0-9]{2}[._-]?[01]?[0-9]                    # dates
    | (?<![0-9.])[0-9]+([_-][0-9]+){2,}$                                 # groups of digits alone
    | [0-9]\.[0-9]+[d-wyz](?=$|[._+-])                                   # a letter that was no pre-release
    """,
    re.VERBOSE | re.IGNORECASE,
)


def is_reread(tag: str) -> bool:
    """Whether the changelog says that 2.1 reads such a tag differently from 2.0.0 in a removal."""
    return _LISTED.search(tag) is not None
