"""The text about a repository that is not there."""

from __future__ import annotations

from dregutil.oci.names import Repository
from dregutil.select.absent import absent_text

SHOP = Repository("shop/web")


def test_near_names_are_suggested() -> None:
    there = [Repository(name) for name in ("shop/web2", "tools/ci")]
    assert absent_text(there, SHOP) == "there is no repository shop/web with tags (did you mean shop/web2?)"


def test_the_name_itself_is_no_suggestion() -> None:
    """A catalog may have a repository that has no tags."""
    assert absent_text([SHOP], SHOP) == "there is no repository shop/web with tags"
