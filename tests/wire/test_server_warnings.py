"""The `Warning` headers of a registry (OCI distribution-spec, "Warnings"): shown once each, on standard error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dregutil.registry.http.server_warnings import ServerWarnings
from images import Pusher
from program import Program, on_terminal
from servers import DistributionServer
from servers.http import Answer, Proxy, Request
from servers.real import OlaregServer


def said(*headers: str, secret: str = "hidden") -> list[str]:
    found: list[str] = []
    warnings = ServerWarnings(found.append, lambda text: text.replace(secret, "***"))
    for header in headers:
        warnings.note([header])
    return found


def test_a_text_is_said_once() -> None:
    assert said('299 - "old client"', '299 - "old client"', '299 - "quota"') == [
        "the registry says: old client",
        "the registry says: quota",
    ]


@pytest.mark.parametrize(
    ("header", "texts"),
    [
        ('299 - "a", 299 - "b"', ["a", "b"]),
        ('299 - "say \\"hi\\", now" "Wed, 21 Oct 2015 07:28:00 GMT"', ['say "hi", now']),
        ('110 - "stale", 299 - "b"', ["b"]),
        ('299 proxy.example "not the registry"', []),
        ('299 - "', []),
        ("299 - bare", []),
        ('299 - ""', []),
        ("", []),
        ('299 - "' + '\\"' * 4000, []),
    ],
)
def test_only_what_the_registry_itself_says_is_read(header: str, texts: list[str]) -> None:
    assert said(header) == [f"the registry says: {text}" for text in texts]


def test_texts_are_bounded_escaped_and_redacted() -> None:
    (found,) = said('299 - "' + "x" * 290 + 'hidden and more"')
    assert found == f"the registry says: {'x' * 290}*** and mo"
    assert said('299 - "\x1b[31mred\u202e"') == ["the registry says: \\x1b[31mred\\u202e"]
    many = said(*(f'299 - "{number}"' for number in range(50)))
    assert len(many) == 11
    assert many[-1] == "the registry sends more warnings, which are not shown"


class WarningOlareg(OlaregServer):
    def command(self) -> list[str]:
        return [*super().command(), "--warning", "this registry moves to registry.example.com"]


def test_olareg_warns_once_for_a_whole_command(tmp_path: Path) -> None:
    """Reads, the writing view of the same connection, and deletions all get the header."""
    with WarningOlareg(tmp_path / "olareg") as server:
        with Pusher(server.url) as pusher:
            for tag in ("1.0", "2.0"):
                pusher.push_image("shop/web", tag, seed=tag)
        program = Program(server.url, tmp_path)
        expected = "dregutil: warning: the registry says: this registry moves to registry.example.com\n"
        (tmp_path / "names").write_text("shop/web\n")
        named = ("--repositories-from", "names")
        for arguments in (
            ("inspect", "shop/web:1.0"),
            ("list-tag-names", "--format", "json", "shop/web"),
            ("doctor",),
            ("remove-tags", "-r", "shop/web", "-t", "1.0"),
            ("du", "--format", "json"),
        ):
            done = program.run(*named, *arguments)
            assert done.stderr.count(expected) == 1, (arguments, done.stderr)
            assert "moves to" not in done.stdout
            assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)
        _, text = on_terminal(program, "", *named, "inspect", "shop/web:2.0")
        assert text.count("moves to registry.example.com") == 1


def test_a_warning_with_a_secret_and_one_of_another_server(registry_server: DistributionServer, tmp_path: Path) -> None:
    """The registry sends the config of the image from another server, as with blobs in an object store."""
    with Pusher(registry_server.url) as pusher:
        pusher.push_image("r", "1.0", seed="one")
        digest = json.loads(pusher.raw("r", "1.0"))["config"]["digest"]
        config = pusher.request("GET", f"/v2/r/blobs/{digest}")[2]
    with Proxy(registry_server.port, before=lambda _: Answer(200, config, {"Warning": '299 - "elsewhere"'})) as other:

        def answer(request: Request) -> Answer | None:
            if "/blobs/" in request.path:
                return Answer(307, b"", {"Location": f"{other.url}/stored"})
            if "/tags/" in request.path:
                headers = {"Warning": '299 - "token is p4ssw0rd-of-ann"', "Content-Type": "application/json"}
                return Answer(200, b'{"name": "r", "tags": ["1.0"]}', headers)
            return None

        with Proxy(registry_server.port, before=answer) as proxy:
            done = Program(proxy.url, tmp_path).run("-u", "ann", "-p", "p4ssw0rd-of-ann", "inspect", "r:1.0")
    assert done.returncode == 0, done.stderr
    assert "linux/amd64" in done.stdout
    assert "warning: the registry says: token is" in done.stderr
    assert "p4ssw0rd" not in done.stderr
    assert "elsewhere" not in done.stderr
