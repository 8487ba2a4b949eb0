"""Where credentials are found: real files, and real helpers on PATH."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import traceback
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.errors import CredentialError, DregutilError
from dregutil.oci.names import RegistryAddress
from dregutil.registry.auth.credentials import CredentialPlaces, Credentials, find_credentials, scoped_paths
from servers import find_program

SECRET = "s3cr3t-pässword"

HELPER = """#!/bin/sh
# Docker's credential helper protocol, over one file per server.
[ "$1" = get ] || exit 2
read -r server
file="$KEYCHAIN/$(printf %s "$server" | tr '/:' '__')"
if [ -f "$file" ]; then cat "$file"; else echo "credentials not found in native keychain"; exit 1; fi
"""


def auth(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".docker").mkdir()
    return tmp_path


@pytest.fixture
def helper_env(home: Path) -> dict[str, str]:
    """An environment with the helper `docker-credential-file` on PATH."""
    (home / "bin").mkdir()
    (home / "keychain").mkdir()
    write_program(home / "bin" / "docker-credential-file", HELPER)
    return {"HOME": str(home), "PATH": f"{home / 'bin'}:/usr/bin:/bin", "KEYCHAIN": str(home / "keychain")}


def write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def write_config(home: Path, config: object) -> None:
    (home / ".docker" / "config.json").write_text(json.dumps(config))


def find(home: Path, address: str = "registry.example.com", env: Mapping[str, str] | None = None) -> Credentials | None:
    places = CredentialPlaces(env if env is not None else {"HOME": str(home)})
    return find_credentials(RegistryAddress.parse(address), places)


def test_no_credentials_anywhere(home: Path) -> None:
    assert find(home) is None
    assert find(home, env={}) is None


@pytest.mark.parametrize(
    ("login", "expected"),
    [
        ({"auth": auth("ann", SECRET)}, ("ann", SECRET, "password")),
        ({"auth": auth("ann", "with:colons:")}, ("ann", "with:colons:", "password")),
        ({"auth": auth("ann", "padded\0\0")}, ("ann", "padded", "password")),
        ({"auth": auth("ann", "x").rstrip("=")}, ("ann", "x", "password")),
        ({"username": "ann", "password": SECRET}, ("ann", SECRET, "password")),
        ({"auth": auth("0-0", ""), "identitytoken": "refresh"}, ("0-0", "refresh", "identity_token")),
        ({"registrytoken": "eyJ.a.b"}, ("", "eyJ.a.b", "bearer")),
        ({}, None),
        (None, None),
        ({"auth": ""}, None),
    ],
)
def test_an_entry_of_auths(home: Path, login: object, expected: tuple[str, str, str] | None) -> None:
    write_config(home, {"auths": {"registry.example.com": login}})

    found = find(home)

    assert (None if found is None else (found.user, found.secret, found.kind)) == expected
    assert found is None or found.source == "~/.docker/config.json (auths)"


@pytest.mark.parametrize(
    ("key", "address", "matches"),
    [
        ("registry.example.com", "registry.example.com", True),
        ("https://registry.example.com/v1/", "registry.example.com", True),
        ("http://registry.example.com", "http://registry.example.com", True),
        ("Registry.Example.com:443", "https://registry.example.com", True),
        ("registry.example.com", "registry.example.com:443", True),
        ("registry.example.com", "registry.example.com:5000", False),
        ("registry.example.com:443", "http://registry.example.com", False),
        ("registry.example.com:5000", "registry.example.com:5000", True),
        ("registry.example.com.evil.net", "registry.example.com", False),
        ("example.com", "registry.example.com", False),
        ("https://index.docker.io/v1/", "docker.io", True),
        ("https://index.docker.io/v1/", "registry-1.docker.io", True),
        ("docker.io", "index.docker.io", True),
        ("[::1]:5000", "[::1]:5000", True),
        ("https://registry.example.com@evil.net/", "registry.example.com", False),
    ],
)
def test_which_key_refers_to_which_registry(home: Path, key: str, address: str, *, matches: bool) -> None:
    write_config(home, {"auths": {"other.example.com": {"auth": auth("eve", "x")}, key: {"auth": auth("ann", "x")}}})

    found = find(home, address)

    assert (found.user if found is not None else None) == ("ann" if matches else None)


def test_the_longest_path_wins_and_any_namespace_is_better_than_none(home: Path) -> None:
    logins = {name: {"auth": auth(name, "x")} for name in ("h.example/other", "h.example/mirror", "h.example")}
    write_config(home, {"auths": logins})
    assert find(home, "h.example") == Credentials("h.example", "x", "password", "~/.docker/config.json (auths)")
    mirror = find(home, "h.example/mirror")
    assert mirror is not None
    assert mirror.user == "h.example/mirror"

    write_config(home, {"auths": {"h.example/other": {"auth": auth("other", "x")}}})
    only = find(home, "h.example")
    assert only is not None
    assert only.user == "other"


def test_the_order_of_files(home: Path) -> None:
    def config(user: str) -> str:
        return json.dumps({"auths": {"registry.example.com": {"auth": auth(user, "x")}}})

    env = {"HOME": str(home)}
    places: list[tuple[str, Mapping[str, str], Path | None]] = [
        ("xdg", {}, home / ".config" / "containers" / "auth.json"),
        ("runtime", {"XDG_RUNTIME_DIR": str(home / "run")}, home / "run" / "containers" / "auth.json"),
        ("docker", {}, home / ".docker" / "config.json"),
        ("folder", {"DOCKER_CONFIG": str(home / "d")}, home / "d" / "config.json"),
        ("authfile", {"REGISTRY_AUTH_FILE": str(home / "auth.json")}, home / "auth.json"),
        ("variable", {"DOCKER_AUTH_CONFIG": config("variable")}, None),
    ]
    for user, added, path in places:
        env |= added
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(config(user))

        found = find(home, env=env)

        assert found is not None
        assert found.user == user
    assert found is not None
    assert found.source == "DOCKER_AUTH_CONFIG (auths)"


@pytest.mark.parametrize(
    "text",
    [
        '{"auths": {"registry.example.com": {"auth": "czNjcjN0-leak", ',
        '["czNjcjN0-leak"]',
        '{"auths": ["czNjcjN0-leak"]}',
        '{"auths": {"registry.example.com": "czNjcjN0-leak"}}',
        '{"auths": {"registry.example.com": {"auth": "!czNjcjN0-leak"}}}',
        '{"auths": {"registry.example.com": {"auth": "czNjcjN0"}}}',
        '{"auths": {"registry.example.com": {"username": 7, "password": "czNjcjN0-leak"}}}',
        '{"credsStore": ["czNjcjN0-leak"]}',
        '{"credHelpers": "czNjcjN0-leak"}',
        "[" * 100_000,
        "\x00",
    ],
)
def test_a_broken_file_is_reported_and_never_quoted(home: Path, text: str) -> None:
    (home / ".docker" / "config.json").write_text(text)

    with pytest.raises(CredentialError) as caught:
        find(home)

    said = "".join(traceback.format_exception(caught.value, chain=True)) + caught.value.advice
    assert "~/.docker/config.json" in caught.value.message
    assert "czNjcjN0" not in said
    assert "s3cr3t" not in said


def test_a_broken_entry_of_another_registry_is_ignored(home: Path) -> None:
    write_config(home, {"auths": {"other.example.com": 7, "registry.example.com": {"auth": auth("ann", "x")}}})

    found = find(home)

    assert found is not None
    assert found.user == "ann"


def test_an_empty_file_and_a_folder(home: Path) -> None:
    (home / ".docker" / "config.json").touch()
    assert find(home) is None

    (home / ".docker" / "config.json").unlink()
    (home / ".docker" / "config.json").mkdir()
    with pytest.raises(CredentialError, match="not a file"):
        find(home)


def test_a_named_file_that_does_not_exist(home: Path) -> None:
    with pytest.raises(CredentialError, match="--authfile"):
        find(home, env={"HOME": str(home), "REGISTRY_AUTH_FILE": str(home / "absent.json")})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["auths", "credHelpers", "r.example", "auth", "username", "password", "identitytoken"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_is_read_or_refused(config: Any) -> None:
    with TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        with suppress(CredentialError):
            places = CredentialPlaces({"DOCKER_CONFIG": folder, "PATH": folder})
            find_credentials(RegistryAddress.parse("r.example"), places)
            scoped_paths(RegistryAddress.parse("r.example"), places)


def test_nothing_reveals_a_secret() -> None:
    credentials = Credentials("ann", SECRET)

    assert SECRET not in repr(credentials) + str(credentials)


def test_a_user_name_that_is_invalid_in_a_header() -> None:
    with pytest.raises(CredentialError, match="colon"):
        Credentials("a:b", SECRET).basic()
    with pytest.raises(CredentialError, match="control"):
        Credentials("a\r\nX-Evil: 1", SECRET)
    with pytest.raises(CredentialError, match="not a valid token") as caught:
        Credentials("", "a b\r\n", "bearer")
    assert issubclass(caught.type, DregutilError)


# --- helpers


def test_a_helper_for_one_host_comes_before_the_store_and_the_file(home: Path, helper_env: dict[str, str]) -> None:
    (home / "keychain" / "registry.example.com").write_text(json.dumps({"Username": "ann", "Secret": SECRET}))
    write_config(
        home,
        {
            "credHelpers": {"registry.example.com": "file"},
            "credsStore": "absent",
            "auths": {"registry.example.com": {"auth": auth("eve", "x")}},
        },
    )

    assert find(home, env=helper_env) == Credentials("ann", SECRET, "password", "credential helper file")


def test_an_identity_token_from_a_store_under_docker_hubs_own_key(home: Path, helper_env: dict[str, str]) -> None:
    answer = {"ServerURL": "x", "Username": "<token>", "Secret": "refresh"}
    (home / "keychain" / "https___index.docker.io_v1_").write_text(json.dumps(answer))
    write_config(home, {"credsStore": "file", "auths": {"https://index.docker.io/v1/": {}}})

    assert find(home, "docker.io", helper_env) == Credentials("", "refresh", "identity_token", "credential helper file")


def test_if_a_helper_has_nothing_the_file_is_used(home: Path, helper_env: dict[str, str]) -> None:
    write_config(home, {"credsStore": "file", "auths": {"registry.example.com": {"auth": auth("ann", "x")}}})
    found = find(home, env=helper_env)
    assert found is not None
    assert found.source == "~/.docker/config.json (auths)"

    write_config(home, {"credsStore": "file"})
    assert find(home, env=helper_env) is None


def test_a_helper_that_is_not_installed(home: Path, helper_env: dict[str, str]) -> None:
    write_config(home, {"credsStore": "absent"})

    with pytest.raises(CredentialError, match="docker-credential-absent is not installed") as caught:
        find(home, env=helper_env)

    assert "install docker-credential-absent" in caught.value.advice
    assert "-u and -p" in caught.value.advice


@pytest.mark.parametrize("name", ["../file", "file; touch x", "-x", "/bin/sh", "file\n", "f" * 200])
def test_a_helper_with_a_malicious_name(home: Path, helper_env: dict[str, str], name: str) -> None:
    write_config(home, {"credsStore": name})

    with pytest.raises(CredentialError, match="not a valid name of a credential helper"):
        find(home, env=helper_env)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (f"#!/bin/sh\necho leak {SECRET}; echo {SECRET} >&2; exit 3\n", "exit status 3"),
        (f"#!/bin/sh\ncat >/dev/null; echo '{SECRET}'\n", "broken is invalid"),
        (f"#!/bin/sh\ncat >/dev/null; echo '[\"{SECRET}\"]'\n", "broken is invalid"),
        (
            '#!/bin/sh\ncat >/dev/null; echo \'{"Username": 1, "Secret": 2}\'\n',
            "broken is invalid",
        ),
        ("#!/bin/sh\nexec sleep 60\n", "did not answer within 0.2 s"),
        ("#!/absent/interpreter\n", "cannot be run"),
    ],
)
def test_a_helper_that_fails(home: Path, helper_env: dict[str, str], program: str, message: str) -> None:
    write_program(home / "bin" / "docker-credential-broken", program)
    write_config(home, {"credsStore": "broken"})

    with pytest.raises(CredentialError, match=message) as caught:
        find_credentials(
            RegistryAddress.parse("registry.example.com"), CredentialPlaces(helper_env, helper_timeout=0.2)
        )

    assert SECRET not in "".join(traceback.format_exception(caught.value, chain=True)) + caught.value.advice


@pytest.fixture
def password_store(home: Path) -> Iterator[dict[str, str]]:
    """A real `pass` with its own key, for Debian's docker-credential-pass."""
    # The path of gpg-agent's socket must be short.
    with TemporaryDirectory(prefix="gpg") as gnupg:
        kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
        env = {**kept, "HOME": str(home), "GNUPGHOME": gnupg}
        key = ["gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", "ann@example.com"]
        try:
            subprocess.run([*key, "ed25519/cert,sign"], env=env, check=True, capture_output=True)
            listing = subprocess.run(
                ["gpg", "--batch", "--with-colons", "-k"], env=env, check=True, capture_output=True
            )
            (fingerprint,) = [
                line.split(":")[9] for line in listing.stdout.decode().splitlines() if line.startswith("fpr:")
            ]
            add = ["gpg", "--batch", "--passphrase", "", "--quick-add-key", fingerprint, "cv25519", "encr"]
            subprocess.run(add, env=env, check=True, capture_output=True)
            subprocess.run(["pass", "init", fingerprint], env=env, check=True, capture_output=True)
            yield env
        finally:
            subprocess.run(["gpgconf", "--kill", "all"], env=env, check=False, capture_output=True)


def test_debians_pass_helper(home: Path, password_store: dict[str, str]) -> None:
    helper = find_program("docker-credential-pass")
    kept = {"ServerURL": "registry.example.com:5000", "Username": "ann", "Secret": SECRET}
    subprocess.run([helper, "store"], env=password_store, input=json.dumps(kept).encode(), check=True, timeout=20)
    write_config(home, {"credsStore": "pass", "auths": {"registry.example.com:5000": {}}})

    found = find(home, "registry.example.com:5000", password_store)

    assert found == Credentials("ann", SECRET, "password", "credential helper pass")
    assert find(home, "other.example.com", password_store) is None
