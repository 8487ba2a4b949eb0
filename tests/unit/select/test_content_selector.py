"""Selecting images by their contents."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.errors import UsageError
from dregutil.oci.image import EARLIEST_DATE, ImageDetails
from dregutil.oci.names import Digest
from dregutil.select.content_selector import ContentSelector, Label, Match, base_layers
from dregutil.select.glob import parse_glob

NOW = datetime(2026, 5, 1, tzinfo=UTC)
A, B, C, D = (Digest.of(name.encode()) for name in "abcd")
DATES = st.none() | st.datetimes(timezones=st.just(UTC))


def image(**more: object) -> ImageDetails:
    values = {"digest": A, "media_type": "application/vnd.oci.image.manifest.v1+json", "size": 1000, **more}
    return ImageDetails(**values)  # type: ignore[arg-type]


def meant(selector: ContentSelector, **more: object) -> bool:
    return selector.match(image(**more), NOW) is Match.YES


@pytest.mark.parametrize("days", [91, 4000])
def test_older(days: int) -> None:
    selector = ContentSelector(older_than=timedelta(days=90))
    assert meant(selector, created=NOW - timedelta(days=days))


@pytest.mark.parametrize("days", [0, 89, 90])
def test_not_older(days: int) -> None:
    selector = ContentSelector(older_than=timedelta(days=90))
    assert selector.match(image(created=NOW - timedelta(days=days)), NOW) is Match.NO


def test_newer_and_older_together_are_a_span() -> None:
    selector = ContentSelector(older_than=timedelta(days=30), newer_than=timedelta(days=90))
    assert [days for days in (10, 30, 60, 90, 100) if meant(selector, created=NOW - timedelta(days=days))] == [60]


@pytest.mark.property
@given(DATES, st.timedeltas(min_value=timedelta()), st.booleans())
def test_an_implausible_date_is_neither_older_nor_newer(created: datetime | None, age: timedelta, older: bool) -> None:
    selector = ContentSelector(older_than=age) if older else ContentSelector(newer_than=age)
    found = selector.match(image(created=created), NOW)
    unknown = created is None or created < EARLIEST_DATE or created > NOW
    assert (found is Match.DATE_UNKNOWN) == unknown


def test_what_another_selector_excludes_is_not_reported_as_unknown() -> None:
    assert ContentSelector(older_than=timedelta(), larger_than=5000).match(image(), NOW) is Match.NO


def test_larger() -> None:
    assert [size for size in (999, 1000, 1001) if meant(ContentSelector(larger_than=1000), size=size)] == [1001]


def test_every_label_must_hold() -> None:
    selector = ContentSelector(labels=(Label.parse("a"), Label.parse("b=1=2"), Label.parse("c=")))
    assert meant(selector, labels={"a": "x", "b": "1=2", "c": ""})
    for labels in ({"a": "x", "b": "1=2"}, {"a": "x", "b": "1", "c": ""}, {"a": "x", "b": "1=2", "c": "1"}):
        assert not meant(selector, labels=labels)
    with pytest.raises(UsageError):
        Label.parse("=x")


@pytest.mark.parametrize(
    ("wanted", "platform", "is_meant"),
    [
        ("linux/arm64", "linux/arm64", True),
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm", "linux/arm/v7", True),
        ("linux/arm", "linux/arm64", False),
        ("linux/arm64/v8", "linux/arm64", False),
        ("linux", "linux/amd64", True),
        ("windows/amd64", "linux/amd64", False),
        ("arm64", "linux/arm64/v8", True),
        ("arm64", "windows/arm64", True),
        ("arm64/v8", "linux/arm64/v8", True),
        ("arm64/v8", "linux/arm64", False),
        ("arm", "linux/arm64", False),
        ("arm64", "linux/arm/v7", False),
        ("AMD64", "linux/amd64", True),
        ("Linux/x86_64", "linux/amd64", True),
        ("linux/amd64", "linux/x86_64", True),
        ("linux/x86_64", "linux/x86_64", True),
        ("aarch64", "linux/arm64", True),
        ("armhf", "linux/arm/v7", True),
        ("armhf", "linux/arm/v6", False),
        ("linu", "linux/amd64", False),
        ("amd64", "amd64", False),
        ("386", "linux/386", True),
    ],
)
def test_platforms(wanted: str, platform: str, is_meant: bool) -> None:
    assert meant(ContentSelector(platforms=("plan9/mips", wanted)), platforms=("linux/s390x", platform)) == is_meant


def test_media_types_of_the_manifest_or_its_artifact() -> None:
    helm = "application/vnd.cncf.helm.config.v1+json"
    assert meant(ContentSelector(media_types=(parse_glob(helm),)), artifact_type=helm)
    assert meant(ContentSelector(media_types=(parse_glob("application/*helm*"),)), artifact_type=helm)
    assert not meant(ContentSelector(media_types=(parse_glob("*helm*"),)), artifact_type=helm)
    assert meant(ContentSelector(media_types=(parse_glob("application/vnd.oci.image.manifest.v1+json"),)))
    assert not meant(ContentSelector(media_types=(parse_glob(helm),)))
    assert meant(ContentSelector(media_types=(parse_glob("**"),)), media_type="", artifact_type="") is False


def test_an_image_is_based_on_its_first_layers() -> None:
    selector = ContentSelector(bases=((A, B),))
    assert [
        layers for layers in ((A, B), (A, B, C), (A,), (A, C), (B, A), (C, A, B), ()) if meant(selector, layers=layers)
    ] == [(A, B), (A, B, C)]


def test_of_an_index_one_image_is_enough_on_both_sides() -> None:
    base = image(layers=(), children=(image(layers=(A,)), image(layers=(B,)), image(layers=())))
    assert base_layers(base) == ((A,), (B,))
    selector = ContentSelector(bases=base_layers(base))
    assert meant(selector, children=(image(layers=(C,)), image(layers=(B, D))))
    assert not meant(selector, children=(image(layers=(C,)), image(layers=(D, B))))


def test_an_empty_selector_is_false() -> None:
    assert not ContentSelector()
    assert ContentSelector(older_than=timedelta())
