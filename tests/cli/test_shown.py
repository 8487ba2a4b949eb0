"""Text from others cannot control a terminal: every output escapes it."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import subprocess
import sys
import unicodedata
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.errors import DregutilError, escaped, escaped_json
from dregutil.report.formats import render
from dregutil.report.terminal import SafeStream
from dregutil.report.text import column_lines
from dregutil.retention.policyfile import PolicyError, read_policy
from images import IMAGE, Pusher
from program import Program
from servers import DistributionServer
from servers.http import Answer, Proxy, Request

EVIL = "a\x1b]0;owned\x07b\x1b[31mc\x9b2Jd\u202ee\u2066f\rg\nh\x00i\u200bj\U000e0041k"
CLEARED = re.compile(r"\r\x1b\[K")  # the progress line is removed
COLORED = re.compile(r"^\x1b\[(?:1|3[1236])m([^\x1b\n]*)\x1b\[0m", re.MULTILINE)  # the first word of a line
STEERING = ("Cc", "Cf", "Cs", "Zl", "Zp")


def steering(text: str) -> set[str]:
    return {sign for sign in text if unicodedata.category(sign) in STEERING}


@given(st.text(st.characters(categories=None), max_size=40))
def test_control_characters_are_escaped_and_the_rest_stays(text: str) -> None:
    shown = escaped(text)
    assert steering(shown) == set()
    assert escaped(shown) == shown
    assert [sign for sign in text if not steering(sign) and sign not in shown] == []


def test_every_control_character_is_known() -> None:
    signs = map(chr, range(sys.maxunicode + 1))
    assert [hex(ord(sign)) for sign in signs if unicodedata.category(sign) in STEERING and escaped(sign) == sign] == []


def test_how_a_character_is_escaped() -> None:
    assert escaped("\x1b[1m\n\t\u202e\udcff\U000e0041é") == r"\x1b[1m\n\t\u202e\xff\U000e0041é"


@given(st.dictionaries(st.text(max_size=8), st.text(st.characters(categories=None), max_size=20), max_size=4))
def test_json_has_the_same_value(found: dict[str, str]) -> None:
    for form in ("json", "jsonl"):
        for only_ascii in (False, True):
            text = "".join(render(form, [{"what": found}], only_ascii=only_ascii))
            assert steering(text) <= {"\n"}
            again = json.loads(text)
            assert (again[0] if form == "json" else again)["what"] == found
    assert escaped_json('{"a": 1}\n') == '{"a": 1}\n'


@given(st.lists(st.lists(st.text(st.characters(categories=None), max_size=12), min_size=3, max_size=3), min_size=1))
def test_rows_stay_rows(rows: list[list[str]]) -> None:
    lines = list(column_lines(rows))
    assert len(lines) == len(rows)
    assert steering("".join(lines)) == set()
    table = "".join(render("table", [dict(zip("abc", row, strict=True)) for row in rows]))
    assert steering(table) <= {"\n"}


@pytest.mark.parametrize("cell", ["[red]x[/red]", "[/]", ":smile:", "[link=file:///]a"])
def test_a_table_cell_is_not_markup(cell: str) -> None:
    assert cell in "".join(render("table", [{"a": cell}]))


@given(st.text(st.characters(categories=None)), st.text(st.characters(categories=None)))
def test_an_error_is_one_line(message: str, advice: str) -> None:
    error = DregutilError(message, advice=advice)
    assert steering(error.message + error.advice + str(error)) == set()


def test_each_mistake_in_a_policy_is_one_line() -> None:
    with pytest.raises(PolicyError) as found:
        read_policy("version: 2\nmisspelt\u202e: 1\n", "policy\n\x1b.yml")
    first, *lines = found.value.message.split("\n")
    assert first == rf"the policy policy\n\x1b.yml has {len(lines)} mistakes"
    assert len(lines) == len(found.value.mistakes) > 1
    assert steering(found.value.message) == {"\n"}


def test_output_for_a_program_is_not_changed() -> None:
    stream = io.StringIO()
    SafeStream(stream).write(EVIL)
    assert stream.getvalue() == EVIL
    shown = io.StringIO()
    SafeStream(shown, always=True).write(EVIL)
    assert steering(shown.getvalue()) == {"\n"}


def test_nested_values_are_json_in_a_cell() -> None:
    found = {"plain": ["a", "b"], "rows": [{"digest": "x"}], "map": {"k": "v"}, "none": None, "empty": {}, "no": []}
    (head, row) = csv.reader("".join(render("csv", [found])).splitlines())
    cells = dict(zip(head, row, strict=True))
    assert cells == {
        "plain": "a b",
        "rows": '[{"digest": "x"}]',
        "map": '{"k": "v"}',
        "none": "",
        "empty": "",
        "no": "",
    }


POLICY = """version: 1
policies:
  - name: "web\\e[31m\\u202e\\x9b"
    repositories: ["shop/*"]
    keep: {last: 1}
"""


def on_terminal(program: Program, *arguments: str) -> str:
    """What the command shows on a terminal, without dregutil's own escape codes."""
    leader, follower = pty.openpty()
    environment = {**program.environment(), "TERM": "xterm", "COLUMNS": "400"}
    with subprocess.Popen(
        program.command(arguments),
        cwd=program.folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=follower,
    ) as process:
        os.close(follower)
        shown = b""
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:
                break
            if not part:
                break
            shown += part
    os.close(leader)
    assert process.wait(60) is not None
    return COLORED.sub(r"\1", CLEARED.sub("\n", shown.decode().replace("\r\n", "\n")))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A registry in which everything that others can write is hostile, including its errors."""
    place = tmp_path_factory.mktemp("hostile")
    with DistributionServer(place / "registry") as server, Pusher(server.url) as pusher:
        config = {"architecture": EVIL, "os": "li\x1b[31mnux", "config": {"Labels": {f"k{EVIL}": EVIL}}}
        image = pusher.push_image("shop/web", "1.0", seed="one", config=config)
        body = json.loads(pusher.raw("shop/web", "1.0"))
        body |= {"annotations": {f"note{EVIL}": EVIL}, "artifactType": f"application/{EVIL}"}
        pusher.push_manifest("shop/web", "1.1", json.dumps(body).encode(), IMAGE)
        child = {**image, "platform": {"os": "linux\x1b[31m", "architecture": EVIL}}
        pusher.push_index("shop/web", "1.2", children=[child])
        pusher.push_image("shop/web", "2.0", seed="two")
        folder = place / "work"
        folder.mkdir()
        (folder / "policy\x1b[31m\u202e.yml").write_text(POLICY)
        with Proxy(server.port, before=_refuse) as proxy:
            yield Program(proxy.url, folder)


def _refuse(request: Request) -> Answer | None:
    if "secret" not in request.path:
        return None
    error = {"errors": [{"code": f"DENIED{EVIL}", "message": EVIL, "detail": EVIL}]}
    return Answer(400, json.dumps(error).encode(), {"Content-Type": "application/json"})


COMMANDS = [
    ("inspect", "shop/web:1.0"),
    ("inspect", "shop/web:1.1"),
    ("inspect", "shop/web:1.2"),
    ("inspect", "secret:1.0"),
    ("list-tag-names", "shop/web", "--label", EVIL.replace("\x00", "")),
    ("list-tag-names", "shop/web", "--platform", "linux/\x1b[31m"),
    ("query-tags", "-r", "shop/web", "-t", "1.0\x1b[31m"),
    ("query-tags", "-r", "shop/w\x1b[31m\u202e*", "-t", "1.0"),
    ("query-tags", "-r", "shop/web", "-re", "(\x1b[31m"),
    ("query-tags", "-r", "secret", "-t", "1.0", "--ignore-other-repos"),
    ("no\x1b[31m\u202ecommand",),
    ("find", "shop/web:\x1b[31m"),
    ("find", "shop/web:1.0"),
    ("du", "--by", "layer"),
    ("doctor",),
    ("apply", "plan\x1b[31m\u202e\n.jsonl", "-y"),
    ("history", "run\x1b[31m"),
    ("undo", "run\x1b[31m", "-y"),
    ("policy", "check", "policy\x1b[31m\u202e.yml"),
    ("cleanup", "-f", "policy\x1b[31m\u202e.yml", "--dry-run", "--details"),
    ("cleanup", "-f", "no\x1b[31m\u202e.yml", "--dry-run"),
    ("why", "shop/web:1.0", "-f", "policy\x1b[31m\u202e.yml"),
    ("remove-tags", "-r", "shop/web", "-t", "1.1", "--dry-run", "--plan-out", "plan\x1b[31m\u202e"),
    ("remove-tags", "-r", "shop/web", "-t", "1.0", "1.1", "1.2", "--dry-run"),
    ("-l", "debug", "inspect", "shop/web:1.0"),
    ("inspect", "secret:1.0", "-l", "debug", "--log-format", "json"),
    ("-c", "ca\x1b[31m\u202eche", "list-tag-names"),
    ("--authfile", "au\x1b[31m\u202eth", "list-tag-names"),
    ("--repositories-from", "re\x1b[31m\u202epos", "list-tag-names"),
    ("-u", "me\x1b[31m\u202e", "-p", "x", "inspect", "secret:1.0"),
    ("-reg", "host\x1b[31m\u202e", "list-repo-names"),
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda found: escaped(" ".join(found)))
def test_no_command_sends_control_characters_to_a_terminal(program: Program, arguments: tuple[str, ...]) -> None:
    shown = on_terminal(program, *arguments)
    assert steering(shown) <= {"\n"}, repr(shown)
    assert "unexpected" not in shown


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv"])
def test_no_format_sends_control_characters_to_a_terminal(program: Program, form: str) -> None:
    shown = on_terminal(program, "inspect", "shop/web:1.2", "--format", form)
    assert steering(shown) <= {"\n"}, repr(shown)
    assert "owned" in shown


def test_invisible_characters_are_shown(program: Program) -> None:
    shown = on_terminal(program, "inspect", "shop/web:1.0")
    assert r"\x1b]0;owned\x07b\x1b[31mc\x9b2Jd\u202ee" in shown
    assert "\\rg\\nh\\x00i" in shown


def test_the_history_shows_a_run_with_a_hostile_name(program: Program, registry_server: DistributionServer) -> None:
    done = program.run("remove-tags", "-r", "shop/web", "-t", "2.0", "-y", "--authfile", "\x1b[31m\udcff")
    assert done.returncode != 0  # there is no such file
    done = program.run("remove-tags", "-r", "shop/web", "-t", "2.0", "-x", "9\x1b[31m", "-y")
    assert done.returncode == 2
    done = program.run("remove-tags", "-r", "shop/web", "-t", "2.0", "-xre", "9\x1b\udcff", "-y")
    assert done.returncode == 0, done.stderr
    shown = on_terminal(program, "history")
    assert steering(shown) <= {"\n"}
    assert r"9\x1b\xff" in shown
