"""The command line: grammar, outputs, exit codes, and the message for each mistake."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from dregutil.cli import run
from dregutil.cli.grammar import prepare
from dregutil.cli.parser import build_parser
from dregutil.errors import UsageError
from images import Pusher
from servers import DistributionServer, free_port

A, B, C = (f"sha256:{letter * 64}" for letter in "abc")
CACHE = {"shop/web": {"1.0": A, "1.3": B, "stable": B, "1.10": C, "latest": C}, "other": {"2.0": C}}
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command line in an empty folder whose cache holds CACHE."""
    monkeypatch.chdir(tmp_path)
    for name in ("REGISTRY", "REGISTRY_USER", "REGISTRY_PASSWORD", "DOCKER_UTIL_CACHEFILE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "registry_example_com_cache.json").write_text(json.dumps(CACHE))

    def call(*arguments: str, registry: str = "registry.example.com") -> tuple[int, str, str]:
        code = run(["-reg", registry, *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_names_are_listed_sorted(cli: Cli) -> None:
    assert cli("list-repo-names")[:2] == (0, "other\nshop/web\n")


def test_tags_are_listed_in_version_order(cli: Cli) -> None:
    code, out, err = cli("list-tag-names", "shop/web")
    assert out.splitlines() == [f"shop/web  {tag}" for tag in ("1.0", "1.3", "1.10", "latest", "stable")]
    assert (code, "--refresh reads it again" in err) == (0, True)


def test_image_names_have_no_scheme(cli: Cli) -> None:
    out = cli("list-tag-names", "other", "--image-names", registry="https://registry.example.com")[1]
    assert out == "registry.example.com/other:2.0\n"


def test_a_query_pads_its_first_column_and_counts(cli: Cli) -> None:
    code, out, err = cli("query-tags", "-r", "shop/web", "-t", "<1.4", "--count")
    dashes = "-" * len("Number of selected digests: 1")
    assert (code, out) == (0, f"shop/web  {A}\n{dashes}\nNumber of selected digests: 1\n")
    assert "also 'stable'" in err


def test_another_repository_holds_a_digest_unless_it_is_ignored(cli: Cli) -> None:
    selection = ("query-tags", "-r", "shop/web", "-t", "1.10", "latest")
    assert cli(*selection)[1] == ""
    assert cli(*selection, "--ignore-other-repos")[1] == f"shop/web  {C}\n"
    assert cli(*selection, "--raise-intersecting-repo")[0] == 5


def test_other_tags_can_be_an_error_or_ignored(cli: Cli) -> None:
    selection = ("query-tags", "-r", "shop/web", "-t", "1.3")
    assert cli(*selection, "--raise-intersecting-tag")[0] == 5
    assert cli(*selection, "--no-match-all-tags")[1] == f"shop/web  {B}\n"
    assert cli(*selection, "--no-match-all-tags", "-x", "stable")[1] == ""


def test_json_contains_the_tags(cli: Cli) -> None:
    out = cli("query-tags", "-r", "shop/web", "-t", "1.0", "--format", "json")[1]
    (found,) = json.loads(out)
    assert {name: found[name] for name in ("repository", "digest", "tags", "other_tags")} == {
        "repository": "shop/web",
        "digest": A,
        "tags": ["1.0"],
        "other_tags": [],
    }


@pytest.mark.parametrize("form", ["table", "jsonl", "csv"])
def test_other_formats_name_the_digest(cli: Cli, form: str) -> None:
    assert A in cli("query-tags", "-r", "shop/web", "-t", "1.0", "--format", form)[1]


def test_an_absent_repository_is_reported_with_the_nearest_name(cli: Cli) -> None:
    code, out, err = cli("query-repos", "-r", "shop/wbe", "shop/web", "--ignore-other-repos")
    assert (code, len(out.splitlines())) == (3, 3)
    assert "did you mean shop/web" in err
    assert cli("query-repos", "-r", "shop/wbe")[0] == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("query-tags", "-r", "shop/web"), "no tags are selected"),
        (("query-tags", "-r", "shop/web", "-t"), "the shell took"),
        (("query-tags", "-r", "shop/web", "-t", "<"), "no version"),
        (("query-tags", "-r", "shop/web", "-re", "("), "does not compile"),
        (("query-tags", "-r", "Shop/Web", "-t", "1"), "not a repository name"),
        (("query-tags", "-r", "shop/web", "-t", "1.*"), r"'1.*' is neither a tag nor a version selector"),
        (("query-tags", "-r", "shop/web", "-t", "1.*-x?"), r"for a pattern, use -re (or -xre): '1\..*-x.'"),
        (("query-tags", "-r", "shop/web", "-t", "1", "-x", "=1.0"), "did you mean '==1.0'?"),
        (("query-tags", "-r", "shop/web", "-t", "=>1.0"), "did you mean '>=1.0'?"),
        (("query-tags", "-r", "shop/web", "-t", "~1.0"), "compared with <, <=, ==, >= and >"),
        (("query-tags", "-r", "shop/web", "-t", "1.0 1.1"), "-t 1.0 1.1"),
        (("query-tags", "-r", "shop/web", "-t", "shop/web:1.0"), "is neither a tag nor a version selector"),
        (("remove-tags", "-r", "shop/web", "-t", "1", "--dryrun"), "did you mean --dry-run?"),
        (("remove-tags", "-r", "shop/web", "-t", "1", "--keep-childern"), "did you mean --keep-children?"),
        (("list-repo-names", "--formt=json"), "did you mean --format?"),
        (("list-repo-names", "--zzzzzz"), "unrecognized arguments: --zzzzzz\n"),
        (("-v", "list-repo-names"), "not 'verbose'"),
        ((), "no command"),
        (("list-repo-names", "-l", "loud"), "no such level"),
        (("list-repo-names", "--concurrency", "0"), "whole number"),
        (("list-repo-names", "--timeout", "0"), "more than 0 seconds"),
        (("list-repo-names", "--timeout", "nan"), "more than 0 seconds"),
    ],
)
def test_errors_are_one_line_with_advice(cli: Cli, arguments: tuple[str, ...], told: str) -> None:
    code, out, err = cli(*arguments)
    assert (code, out) == (2, "")
    assert told in err
    assert "Traceback" not in err
    assert len(err.splitlines()) == 2


def test_no_registry_is_a_usage_error(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list-repo-names"]) == 2
    assert "REGISTRY" in capsys.readouterr().err


def test_a_damaged_cache_is_reported_and_left_alone(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "registry_example_com_cache.json"
    path.write_text('{"shop/web": {"1.0": "sha256:')
    code, _, err = cli("list-repo-names")
    assert code == 1
    assert path.name in err
    assert "--refresh" in err
    assert path.read_text() == '{"shop/web": {"1.0": "sha256:'


def test_an_unreachable_registry(cli: Cli) -> None:
    code, _, err = cli("list-repo-names", registry=f"http://127.0.0.1:{free_port()}")
    assert code == 6
    assert "does not answer" in err


def test_an_html_page_is_not_a_registry(cli: Cli) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Page)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        for command in ("doctor", "list-repo-names"):
            code, _, err = cli(command, registry=f"http://127.0.0.1:{server.server_port}")
            assert code == 1
            assert "registry" in err
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_cache_folder_that_cannot_be_written_is_a_warning(
    cli: Cli, registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    pusher.push_image("r", "1.0", seed="one")
    (tmp_path / "file").write_text("")
    code, out, err = cli("list-repo-names", "-c", "/proc/cache.json", registry=registry_server.url)
    assert (code, out) == (0, "r\n")
    assert "was not written" in err


def test_an_empty_registry_is_not_an_error(cli: Cli, registry_server: DistributionServer) -> None:
    code, out, err = cli("list-repo-names", registry=registry_server.url)
    assert (code, out) == (0, "")
    assert "no repository" in err


def test_a_dry_run_changes_nothing_and_the_removal_does_what_it_showed(
    cli: Cli, registry_server: DistributionServer, pusher: Pusher
) -> None:
    for tag in ("1.0", "2.0"):
        pusher.push_image("r", tag, seed=tag)
    before = pusher.tags("r")
    removal = ("remove-tags", "-r", "r", "-t", "<1.4")
    code, out, _ = cli(*removal, "--dry-run", registry=registry_server.url)
    assert (code, pusher.tags("r")) == (0, before)
    assert "DRY RUN" in out
    code, out, _ = cli(*removal, registry=registry_server.url)
    assert (code, out) == (0, f"r  {before['1.0']}\n")
    assert pusher.tags("r") == {"2.0": before["2.0"]}
    assert cli("list-tag-names", registry=registry_server.url)[1] == "r  2.0\n"


def test_disabled_deletion_is_reported_first(cli: Cli, tmp_path: Path) -> None:
    with DistributionServer(tmp_path / "registry", delete=False) as server:
        pusher = Pusher(server.url)
        pusher.push_image("r", "1.0", seed="one")
        code, out, err = cli("remove-tags", "-r", "r", "-t", "1.0", registry=server.url)
        assert (code, out) == (4, "")
        assert "REGISTRY_STORAGE_DELETE_ENABLED" in err
        assert f"deletion is disabled at {server.host} (status 405): nothing was removed\n" in err
        assert "disabled" in cli("doctor", registry=server.url)[1]
        assert pusher.is_whole("r", "1.0")
        pusher.close()


def test_a_read_only_registry_is_distinguished(cli: Cli, tmp_path: Path) -> None:
    with DistributionServer(tmp_path / "registry") as server:
        pusher = Pusher(server.url)
        pusher.push_image("r", "1.0", seed="one")
        server.stop()
        text = server.configuration.read_text().replace("readonly: {enabled: false}", "readonly: {enabled: true}")
        server.configuration.write_text(text)
        server.start()
        pusher.close()
        code, _, err = cli("remove-tags", "-r", "r", "-t", "1.0", registry=server.url)
        assert (code, f"{server.host} is read-only (status 405): nothing was removed\n" in err) == (4, True)
        assert pusher.is_whole("r", "1.0")
        pusher.close()


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        (["--reg", "h", "list-repo-names"], "registry", "h"),
        (["--pass", "p", "list-repo-names"], "password", "p"),
        (["--ver", "f", "list-repo-names"], "verify", "f"),
        (["--user", "u", "list-repo-names"], "user", "u"),
        (["--use-", "list-repo-names"], "use_get_manifest", True),
        (["--ca", "f", "list-repo-names"], "cache", "f"),
        (["--co", "list-repo-names"], "count", True),
        (["--l", "info", "list-repo-names"], "log_level", "info"),
        (["--no", "list-repo-names"], "raise_repo", False),
        (["--client-c", "f", "list-repo-names"], "client_cert", "f"),
        (["--digest", "true", "list-repo-names"], "digest_auth", "true"),
        (["--digest-auth", "list-repo-names"], "digest_auth", "true"),
        (["query-repos", "--re", "a", "b"], "repo", ["a", "b"]),
        (["remove-repos", "--r", "a"], "repo", ["a"]),
        (["list-tag-names", "--re"], "reverse_sort", True),
        (["list-tag-names", "--i"], "image_names", True),
        (["query-tags", "-r", "a", "--t", "1"], "tags", ["1"]),
        (["query-tags", "-r", "a", "--reg", "1"], "regex", ["1"]),
        (["remove-tags", "-r", "a", "--exclude-", "1"], "exclude_regex", ["1"]),
        (["remove-tags", "-r", "a", "-t", "1", "--raise"], "raise_tag", True),
        (["remove-tags", "-r", "a", "-t", "1", "--no"], "match_all", False),
        (["query-tags", "-r", "a", "-t", "1", "2", "-re", "x", "-x", "y", "-xre", "z"], "exclude_regex", ["z"]),
        (["query-tags", "-r", "a", "-t", "1", "-reg", "late"], "registry", "late"),
        (["--l", "info", "query-tags", "-r", "a", "-t", "1"], "log_level", "info"),
        (["query-tags", "-r", "a", "--ta", "1"], "tags", ["1"]),
        (["remove-tags", "-r", "a", "--n", "-t", "1"], "match_all", False),
        (["list-tag-names", "--r"], "reverse_sort", True),
        (["-reg", "early", "query-tags", "-r", "a", "-t", "1"], "registry", "early"),
    ],
)
def test_the_grammar_of_the_older_parser_still_works(line: list[str], name: str, value: object) -> None:
    assert getattr(build_parser().parse_args(prepare(line)), name) == value


@pytest.mark.parametrize(
    ("option", "name"),
    [("-r", "repo"), ("-t", "tags"), ("-re", "regex"), ("-x", "exclude"), ("-xre", "exclude_regex")],
)
def test_an_option_given_twice_accumulates(option: str, name: str) -> None:
    """The first exclusion must not be lost: 1.x used only the last one."""
    line = ["remove-tags", "-r", "a", "-t", "1", option, "b", "c", option, "d"]
    assert getattr(build_parser().parse_args(line), name)[-3:] == ["b", "c", "d"]


def test_an_unknown_option_is_a_usage_error() -> None:
    with pytest.raises(UsageError):
        build_parser().parse_args(["--nonsense", "list-repo-names"])


@pytest.mark.parametrize(("form", "begins"), [("text", "20"), ("json", '{"time": "20')])
def test_the_log_has_each_exchange_without_its_query(
    registry_server: DistributionServer, tmp_path: Path, form: str, begins: str
) -> None:
    line = [sys.executable, "-m", "dregutil", "-reg", registry_server.url, "-c", "None", "-l", "Debug"]
    done = subprocess.run(
        [*line, "list-repo-names", "--log-format", form], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    (exchange,) = [told for told in done.stderr.splitlines() if "/v2/_catalog" in told]
    assert exchange.startswith(begins)
    assert "GET /v2/_catalog: 200 in " in exchange
    if form == "json":
        assert json.loads(exchange)["logger"] == "dregutil.http"


def test_a_cached_query_imports_no_http_client(tmp_path: Path) -> None:
    (tmp_path / "r_cache.json").write_text(json.dumps(CACHE))
    script = (
        "import sys; from dregutil.cli import run; code = run(['-reg', 'r', 'query-tags', '-r', 'other', '-t', '2.0']);"
        "found = {'aiohttp', 'msgspec', 'asyncio'} & set(sys.modules); print(found); sys.exit(code)"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=30
    )
    assert found.stdout.splitlines()[-1] == "set()"


def test_a_port_that_does_not_speak_http(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=_say_nonsense, args=(listener,))
        thread.start()
        code, _, err = cli("doctor", registry=f"http://127.0.0.1:{listener.getsockname()[1]}")
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert code == 6
    assert "Traceback" not in err


def _say_nonsense(listener: socket.socket) -> None:
    with suppress(OSError):  # nobody listens any more
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"SSH-2.0-nothing\r\n\r\n")
