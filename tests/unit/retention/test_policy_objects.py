"""A policy written in Python is the one that a file with the same words is read as, mistakes included."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import FrozenInstanceError, fields, replace
from datetime import timedelta
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dregutil.retention.asked import Kubernetes
from dregutil.retention.policy import DoomedList, Expires, InUseList, NameList, PolicySet
from dregutil.retention.policyfile import (
    Keep,
    Policy,
    PolicyError,
    Protect,
    RegexGroup,
    Select,
    policy_set,
    read_policy,
)
from dregutil.select.quantity import duration_as_written

Written = dict[str, Any]  # a section, as in a file
RULES = tuple(field.name for field in fields(Keep))
KEEP = Keep(last=1)


def listed(good: Sequence[str], bad: Sequence[str]) -> st.SearchStrategy[list[str]]:
    """Lists of words that are right; where there are `bad` ones, maybe wrong, or empty."""
    return st.lists(st.sampled_from([*good, *bad]), min_size=0 if bad else 1, max_size=3, unique=True)


def files(*, valid: bool) -> st.SearchStrategy[Written]:
    """Policy files, without `version`; if not `valid`, most with mistakes."""

    def also(*words: Any) -> list[Any]:
        return [] if valid else [*words]

    globs = listed(["**", "team/*", "nightly-*", "1.10", "on", "{one,two}"], also("[a", ""))
    ranges = listed([">=1.0", ">=1.0, <2", "<2024"], also("1.0", ">=x"))
    number = st.integers(1 if valid else -1, 12)
    seconds = st.integers(0, 10**7).map(lambda number: timedelta(seconds=number))
    duration = st.one_of(st.sampled_from(["30d", "1d12h", "2w", *also("soon", "1001y")]), seconds)
    labels = st.one_of(
        listed(["team", "team=shop", "a=b=c"], also("", "=shop")),
        st.fixed_dictionaries(
            {}, optional={"team": st.sampled_from(["web", "1.10"]), "stage": listed(["a", "b", "c"], [])}
        ).filter(bool),
    )
    rules = {
        "last": number,
        "daily": number,
        "weekly": number,
        "monthly": number,
        "yearly": number,
        "within": duration,
        "tags": globs,
        "versions": ranges,
        "label": labels,
    }
    rule = st.fixed_dictionaries({}, optional=rules).filter(lambda rule: bool(rule) or not valid)
    keep = st.one_of(
        st.fixed_dictionaries({}, optional={**rules, "all": st.lists(rule, min_size=1, max_size=2)}).filter(bool),
        st.just({"none": True}),
        *also(st.fixed_dictionaries({}, optional={"last": number, "none": st.booleans()})),
    )
    select = st.fixed_dictionaries(
        {},
        optional={
            "tags": globs,
            "regex": listed(["(?P<branch>.+)-[0-9a-f]+", "v[0-9]+"], also("(")),
            "version": ranges,
            "label": listed(["team", "team=shop"], also("")),
            "media_type": listed(["application/*", "**helm**"], also("helm")),
            "artifact_type": listed(["application/*"], also("helm")),
            "platform": listed(["linux/arm64", "arm64"], []),
            "older_than": duration,
            "larger_than": st.sampled_from(["1GB", 1000, *also("big")]),
        },
    ).filter(bool)
    untagged = st.fixed_dictionaries({"untagged": st.just(True)}, optional={} if valid else {"tags": globs})
    settings = {
        "group_by": listed(["repository", "minor", "major"], also("branch", "team")),
        "order": st.sampled_from(["time", "version", *also("date")]),
        "unknown_date": st.sampled_from(["keep", "first_seen", *also("never")]),
        "min_age": duration,
        "max_remove": st.sampled_from(["30%", "12.5%", 40, 0, *also("130%", -1)]),
        "untag": st.booleans(),
        "allow_empty": st.booleans(),
        "doomed": st.lists(
            st.fixed_dictionaries({"file": st.sampled_from(["a.txt", *also("")])}, optional={"max_age": duration}),
            min_size=1,
            max_size=2,
        ),
        "expires": st.fixed_dictionaries(
            {"label": st.sampled_from(["quay.expires-after", *also("")]), "from": st.sampled_from(["created", "seen"])}
        ),
    }
    named = {"name": st.sampled_from(["nightly", "releases", *also(" ")]), "repositories": globs}
    policy = st.fixed_dictionaries({**named, "keep": keep}, optional={"select": select, **settings})
    strays = st.fixed_dictionaries({**named, "keep": st.just({"within": "14d"}), "select": untagged})
    lists = st.fixed_dictionaries(
        {"file": st.sampled_from(["images.txt", "-", *also("")])}, optional={"max_age": duration}
    )
    clusters = {
        "contexts": listed(["prod", "stage"], also("")),
        "finished": st.booleans(),
        "ignore": listed(["pods", "*.tekton.dev"], []).filter(bool),
    }
    in_use = st.one_of(lists, st.fixed_dictionaries({"kubernetes": st.fixed_dictionaries({}, optional=clusters)}))
    protect = {
        "tags": globs,
        "repositories": globs,
        "in_use": st.lists(in_use, min_size=1, max_size=2),
        "aliases": st.just(["registry.internal:5000"]),
        "labels": labels,
    }
    name = (lambda policy: policy["name"]) if valid else None
    return st.fixed_dictionaries(
        {"policies": st.lists(st.one_of(policy, policy, strays), min_size=1, max_size=2, unique_by=name)},
        optional={
            "protect": st.fixed_dictionaries({}, optional=protect),
            "timezone": st.sampled_from(["UTC", "Europe/Berlin", *also("Europe/Berln")]),
        },
    )


def in_yaml(file: Written) -> PolicySet:
    def plain(value: Any) -> Any:
        if isinstance(value, timedelta):
            return duration_as_written(value)
        if isinstance(value, list):
            return [plain(one) for one in value]
        if isinstance(value, dict):  # rules count in their order in the file, which in Python is that of the fields
            keys = sorted(value, key=lambda key: RULES.index(key) if key in RULES else 0)
            return {key: plain(value[key]) for key in keys}
        return value

    return read_policy(yaml.safe_dump(plain({"version": 1, **file}), sort_keys=False), "a file")


def in_python(file: Written) -> PolicySet:
    def section(made: Any, written: Written, **inner: Any) -> Any:
        return made(**{key: inner[key](one) if key in inner else one for key, one in written.items()})

    def keep(written: Written) -> Any:
        return section(Keep, written, all=lambda rules: [Keep(**rule) for rule in rules])

    def policy(written: Written) -> Any:
        return section(
            Policy,
            written,
            keep=keep,
            select=lambda keys: Select(**keys),
            doomed=lambda lists: [DoomedList(**one) for one in lists],
            expires=lambda keys: Expires(keys["label"], keys["from"] == "seen"),
        )

    def protect(written: Written) -> Any:
        def source(one: Written) -> Any:
            return Kubernetes(**one["kubernetes"]) if "kubernetes" in one else InUseList(**one)

        return section(Protect, written, in_use=lambda sources: [source(one) for one in sources])

    more = {key: protect(one) if key == "protect" else one for key, one in file.items() if key != "policies"}
    return policy_set([policy(one) for one in file["policies"]], name="a file", **more)


def without_places(found: PolicySet) -> PolicySet:
    lists = tuple(replace(one, line=0, column=0) for one in found.protect.in_use)
    policies = tuple(replace(one, line=0, column=0) for one in found.policies)
    return replace(found, policies=policies, protect=replace(found.protect, in_use=lists))


def mistakes(make: Callable[[], object]) -> set[str]:
    try:
        make()
    except PolicyError as error:
        return {mistake.text for mistake in error.mistakes}
    return set()


@pytest.mark.property
@given(files(valid=True))
def test_what_is_written_in_python_is_what_the_same_file_is_read_as(file: Written) -> None:
    assert in_python(file) == without_places(in_yaml(file))


@pytest.mark.property
@given(files(valid=False))
def test_what_is_wrong_in_a_file_is_wrong_in_python(file: Written) -> None:
    """All mistakes of a file are reported at once; in Python, those of the first value that has any."""
    in_a_file = mistakes(lambda: in_yaml(file))
    assert mistakes(lambda: in_python(file)) <= in_a_file
    assert bool(mistakes(lambda: in_python(file))) is bool(in_a_file)


def test_a_list_of_names_in_python_is_that_of_a_file() -> None:
    keep = Keep(named_in=NameList("alive.txt", max_age="24h", max_shrink="50%"), by="branch")  # type: ignore[arg-type]
    regex = "(?P<branch>.+)-[0-9]"
    select = Select(regex=[regex])
    found = policy_set([Policy(name="p", repositories=["**"], select=select, keep=keep)], name="a file")
    written = "{named_in: {file: alive.txt, max_age: 24h, max_shrink: 50%}, by: branch}"
    text = f"policies: [{{name: p, repositories: ['**'], select: {{regex: '{regex}'}}, keep: {written}}}]\nversion: 1"
    assert found == without_places(read_policy(text, "a file"))
    short = Policy(name="p", repositories=["**"], select=select, keep=Keep(named_in="alive.txt", by="branch"))
    assert policy_set([short]).policies[0].keep[0].text == "named_in: alive.txt"


def test_an_order_by_a_number_in_python_is_that_of_a_file() -> None:
    select = Select(regex=["b(?P<build>[0-9]+)"])
    keep = Keep(last=2, count="tags")
    made = Policy(name="p", repositories=["**"], select=select, keep=keep, order=RegexGroup("build"))
    more = "select: {regex: 'b(?P<build>[0-9]+)'}, order: {regex_group: build}, keep: {last: 2, count: tags}"
    text = f"version: 1\npolicies: [{{name: p, repositories: ['**'], {more}}}]"
    assert policy_set([made], name="a file") == without_places(read_policy(text, "a file"))


def test_a_mistake_says_where_it_is() -> None:
    with pytest.raises(PolicyError) as failed:
        Policy(
            name="nightly",
            repositories=["team/*", "[a"],
            keep=Keep(last=0, all=[Keep(within="soon")]),
            select=Select(regex=["("]),
        )
    assert {line.split(": ")[1] for line in failed.value.lines} == {
        "keep.last",
        "repositories[1]",
        "keep.all[0].within",
        "select.regex[0]",
    }
    assert failed.value.message.startswith("the policy nightly has 4 mistakes\nnightly: keep.last: '0' is not a whole")


def test_mistakes_of_the_whole_say_where_they_are() -> None:
    policy = Policy(name="p", repositories=["**"], keep=KEEP)
    with pytest.raises(PolicyError) as failed:
        policy_set([policy, policy], timezone="Europe/Berln")
    assert failed.value.lines == (
        "written in Python: timezone: there is no time zone 'Europe/Berln': did you mean 'Europe/Berlin'?",
        "written in Python: policies[1]: two policies are called 'p'",
    )
    with pytest.raises(PolicyError, match=r"written in Python: policies: the list is empty"):
        policy_set([])
    with pytest.raises(PolicyError, match=r"mine: protect.tags\[0\]: '\[a': '\[' is not closed"):
        policy_set([policy], protect=Protect(tags=["[a"]), name="mine")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Policy(name="p", repositories="team/*", keep=KEEP),
        lambda: Policy(name="p", repositories=["**"], keep=KEEP, group_by="minor"),
        lambda: Policy(name="p", repositories=[1], keep=KEEP),  # type: ignore[list-item]
        lambda: Policy(name="p", repositories=["**"], keep={"last": 1}),  # type: ignore[arg-type]
        lambda: Policy(name="p", repositories=["**"], keep=KEEP, select={"tags": "x"}),  # type: ignore[arg-type]
        lambda: Keep(tags="rc-*"),
        lambda: Keep(versions=">=1.0"),
        lambda: Keep(label="team"),
        lambda: Keep(label={"team": 1}),  # type: ignore[dict-item]
        lambda: Keep(label={"team=web": "x"}),
        lambda: Protect(labels={"team": ["web", None]}),  # type: ignore[list-item]
        lambda: Keep(all=[{"last": 1}]),  # type: ignore[list-item]
        lambda: Select(tags="nightly-*"),
        lambda: Select(regex="v.*"),
        lambda: Select(version=">=1.0"),
        lambda: Select(label="team"),
        lambda: Select(platform="arm64"),
        lambda: Protect(tags="latest"),
        lambda: Protect(repositories="prod/**"),
        lambda: Protect(aliases="registry.internal"),
        lambda: Protect(in_use=["images.txt"]),  # type: ignore[list-item]
        lambda: policy_set([{"name": "p"}]),  # type: ignore[list-item]
    ],
)
def test_one_text_or_another_type_where_a_list_is_meant_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(TypeError, match="must be a"):
        make()


@pytest.mark.parametrize("age", [timedelta(seconds=-1), timedelta(microseconds=1)])
def test_a_duration_that_no_file_can_have_is_refused(age: timedelta) -> None:
    with pytest.raises(PolicyError, match="is not a duration"):
        Policy(name="p", repositories=["**"], keep=Keep(within=age))


def test_a_truth_is_no_number_and_a_number_no_truth() -> None:
    with pytest.raises(PolicyError, match="'True' is not a whole number of at least 1"):
        Policy(name="p", repositories=["**"], keep=Keep(last=True))
    with pytest.raises(PolicyError, match="'1' is neither true nor false"):
        Policy(name="p", repositories=["**"], keep=KEEP, untag=1)  # type: ignore[arg-type]


def test_what_was_checked_stays_as_it_is() -> None:
    globs = ["team/*"]
    policy = Policy(name="p", repositories=globs, keep=KEEP)
    globs.append("**")
    assert policy.repositories == ("team/*",)
    with pytest.raises(FrozenInstanceError):
        policy.name = "q"  # type: ignore[misc]
    assert hash(policy) == hash(replace(policy))
    with pytest.raises(PolicyError):
        replace(policy, keep=Keep())
