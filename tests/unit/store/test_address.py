"""The address of a store: what it is, and that no part of a password is ever in it or in an error."""

from __future__ import annotations

import pytest

from dregutil.errors import UsageError
from dregutil.store.address import StoreAddress
from dregutil.store.secrets import without_store_passwords

SECRETS = ["hunter2", "hun/ter2", "hun#ter2", "hun?ter2", "hun@ter2", "hun:ter2", "hun%2Fter2", "%zz"]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("form", ["postgresql://me:{}@db/team", "postgres://:{}@db:5432/team?sslmode=require"])
def test_no_part_of_a_password_is_shown(secret: str, form: str) -> None:
    text = form.format(secret)
    parts = [part for part in secret.replace("%2F", "/").replace("/", "#").replace("?", "#").split("#") if part]
    for may in (True, False):
        try:
            found = StoreAddress.parse(text, may_have_password=may)
            shown = f"{found} {found!r} {found.url}"
        except UsageError as error:
            shown = f"{error} {error.advice}"
        assert not [part for part in parts if part in shown], shown
    assert not [part for part in parts if part in without_store_passwords(f"--store={text} x")]


@pytest.mark.parametrize("text", ["postgresql://me@db/team?password=hunter2", "postgresql://me:hunter2@db/team"])
def test_a_password_may_not_be_on_the_command_line(text: str) -> None:
    with pytest.raises(UsageError, match="visible to every user"):
        StoreAddress.parse(text, may_have_password=False)
    assert StoreAddress.parse(text).password({}) == "hunter2"
    assert "hunter2" not in without_store_passwords(text)


def test_a_text_without_a_password_stays_as_it_is() -> None:
    for text in ("postgresql://me@db:5432/team", "cleanup -f policy.yml", "postgres", "http://me:x@host/"):
        assert without_store_passwords(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me@db1:5432,db2:5433/team?target_session_attrs=read-write",
        "postgresql://me@[::1]:5432,db2/team",
        "postgresql:///team?host=db1%2Cdb2&port=5432%2C5433",
    ],
)
def test_an_address_may_name_several_servers(text: str) -> None:
    assert StoreAddress.parse(text).url == text
    with pytest.raises(UsageError, match="not a URL"):
        StoreAddress.parse(text.replace("db2", "db2:here").replace("5432%2C", "").replace(":///", "://db:here/"))


def test_a_file_has_the_password(tmp_path: pytest.TempPathFactory) -> None:
    path = f"{tmp_path}/secret"
    with open(path, "w") as file:  # noqa: PTH123
        file.write("from a file\n")
    address = StoreAddress.parse("postgresql://me:hunter2@db/team")
    assert address.password({"DREGUTIL_STORE_PASSWORD_FILE": path}) == "from a file"
    with pytest.raises(UsageError, match="cannot be read"):
        address.password({"DREGUTIL_STORE_PASSWORD_FILE": f"{path}2"})
