"""The report on a cleanup: the forms that values are rendered in, and that no name gets out of its text.

`python tests/unit/report/test_after_cleanup_forms.py` writes the golden files anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.errors import escaped
from dregutil.report.after_cleanup.markdown import markdown
from dregutil.report.after_cleanup.messages import MessageFormat, format_for, message
from dregutil.report.after_cleanup.metrics import last_success, metrics
from dregutil.report.after_cleanup.model import CleanupReport, Count, Failure, ListAge, Removed, State
from dregutil.report.after_cleanup.objects import json_text, report_object
from dregutil.report.after_cleanup.page import page

GOLDEN = Path(__file__).parents[2] / "golden" / "after_cleanup"
DIGEST = f"sha256:{'0a' * 32}"
REPORT = CleanupReport(
    "registry.example.com",
    "~/policy.yml",
    datetime(2026, 11, 26, 2, tzinfo=UTC),
    312.5,
    State.PARTLY_FAILED,
    total=Count("total", 30, 3, 1, 1, bytes_freed=2_340_000_000),
    policies=(
        Count("releases", 10, 1, bytes_freed=2_000_000_000),
        Count("branches", 12, 1, 1, bytes_freed=340_000_000),
        Count("orphans", 8, 1, 0, 1, untagged=True),
    ),
    teams=(Count("shop", 22, 2, 1, bytes_freed=2_340_000_000), Count("team", 8, 1, 0, 1)),
    removed=(
        Removed("shop/web", "1.0", DIGEST, "releases", "shop", "beyond last: 3", 184_000_000),
        Removed("team/app", None, DIGEST, "orphans", "team", "no rule keeps it", 0),
    ),
    more_removed=1,
    along=2,
    stayed=(("last: 3", 20), ("in use", 4), ("shared with tags that stay", 1)),
    failures=(Failure("shop/web:main-0a1b2c3", "the registry answered 500"),),
    lists=(ListAge("cluster-images.txt", 7500, 40, 31),),
    run="20261126T020000Z-1a2b3",
    undo="dregutil undo 20261126T020000Z-1a2b3",
)
FORMS: dict[str, Callable[[CleanupReport], str]] = {
    "cleanup.md": markdown,
    "cleanup.html": page,
    "cleanup.json": lambda report: json_text(report_object(report)),
    "cleanup.prom": lambda report: metrics(report, succeeded=1_790_000_000.5),
    "slack.json": lambda report: json_text(json.loads(message(report, MessageFormat.SLACK))),
    "teams.json": lambda report: json_text(json.loads(message(report, MessageFormat.TEAMS))),
}
HOSTILE = st.one_of(
    st.text(min_size=1, max_size=12),
    st.sampled_from(
        [
            "<script>alert(1)</script>",
            "</td></table><img src=x onerror=alert(1)>",
            '" onload="x',
            "' x='",
            "a\u202eb",
            "\x1b[31m",
            "a\nb",
            "# | `x` |",
            "[x](https://example.com)",
            "<!channel>",
            "&lt;",
            "\\",
            "https://example.com",
            "}",
            '",x="',
            "\udcff",
        ]
    ),
)


@pytest.mark.parametrize("name", FORMS)
def test_the_golden_forms(name: str) -> None:
    assert FORMS[name](REPORT) == (GOLDEN / name).read_text()


def test_the_generic_message_is_the_object_of_the_file() -> None:
    assert json.loads(message(REPORT, MessageFormat.GENERIC)) == json.loads((GOLDEN / "cleanup.json").read_text())


def shape(value: object) -> object:
    """The keys of a JSON value; of a list, those of its first entry."""
    if isinstance(value, dict):
        return {key: shape(one) for key, one in value.items()}
    return [shape(value[0])] if isinstance(value, list) and value else None


def test_the_page_on_json_names_every_key() -> None:
    text = (Path(__file__).parents[3] / "docs" / "json.md").read_text()
    found = re.search(r"^## The report of `cleanup`\n.*?```json\n(.*?)```", text, re.DOTALL | re.MULTILINE)
    assert found is not None
    assert shape(json.loads(found[1])) == shape(report_object(REPORT))
    assert set(re.findall(r"`([a-z ]+)`", found[0])) >= {state.value for state in State}


@dataclass
class Read(HTMLParser):
    """The elements of a document with their attributes, the text, and what could send a request or run."""

    tags: list[tuple[str, tuple[tuple[str, str | None], ...]]] = field(default_factory=list)
    text: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(text: str) -> Read:
    found = Read()
    found.feed(text)
    found.close()
    return found


def hostile(name: str) -> CleanupReport:
    """The report with this text in place of every name."""
    return replace(
        REPORT,
        registry=name,
        policy_file=name,
        why=name,
        policies=tuple(replace(one, name=name) for one in REPORT.policies),
        teams=tuple(replace(one, name=name) for one in REPORT.teams),
        removed=tuple(Removed(name, name, name, name, name, name, 1) for _ in REPORT.removed),
        stayed=tuple((name, number) for _, number in REPORT.stayed),
        failures=(Failure(name, name),),
        lists=(replace(REPORT.lists[0], name=name),),
        team_label=name,
        run=name,
        undo=name,
    )


@given(HOSTILE)
def test_no_name_gets_out_of_its_text_in_html(name: str) -> None:
    found, plain = read(page(hostile(name))), read(page(hostile("name")))
    assert found.tags == plain.tags
    assert {tag for tag, _ in found.tags}.isdisjoint({"script", "img", "a", "iframe", "form"})
    if len(name.strip()) > 1:
        assert escaped(name) in "".join(found.text)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", page(hostile(name)))


@given(HOSTILE)
def test_no_name_gets_out_of_its_cell_in_markdown(name: str) -> None:
    found, plain = markdown(hostile(name)).splitlines(), markdown(hostile("name")).splitlines()
    assert len(found) == len(plain)
    for line, other in zip(found, plain, strict=True):
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == len(re.findall(r"\|", other))
    assert not re.search(r"(?<!\\)(?:\\\\)*[<\[`]|://|@", "\n".join(found))


@given(HOSTILE)
def test_no_name_is_a_mention_or_link_in_a_message(name: str) -> None:
    slack = json.loads(message(hostile(name), MessageFormat.SLACK))
    texts = [slack["text"], *(one["text"]["text"] for one in slack["blocks"] if one["type"] == "section")]
    assert not any("<" in text or ">" in text for text in texts)
    assert all(len(text) <= 3000 for text in texts)
    (attachment,) = json.loads(message(hostile(name), MessageFormat.TEAMS))["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    blocks = [one["text"] for one in attachment["content"]["body"] if one["type"] == "TextBlock"]
    assert not any(re.search(r"(?<!\\)(?:\\\\)*\[", text) for text in blocks)


_LABEL = r'[a-z_]+="(?:[^"\\\n]|\\["\\n])*"'
_LINE = re.compile(rf"(dregutil_cleanup_[a-z_]+)\{{({_LABEL}(?:,{_LABEL})*)\}} (-?[0-9.e+]+)")


def samples(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    """The samples of an exposition: each metric has its HELP and TYPE first, and its lines are together."""
    found: dict[tuple[str, tuple[str, ...]], float] = {}
    named = ""
    assert text.endswith("\n")
    lines = text[:-1].split("\n")
    seen = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(seen) == len(set(seen))
    for before, line in zip(["", *lines], lines, strict=False):
        if line.startswith("# HELP "):
            continue
        if line.startswith("# TYPE "):
            named, kind = line.split()[2:]
            assert kind == "gauge"
            assert before.startswith(f"# HELP {named} ")
            continue
        match = _LINE.fullmatch(line)
        assert match is not None, line
        assert match[1] == named
        key = (named.removeprefix("dregutil_cleanup_"), tuple(re.findall(_LABEL, match[2])))
        assert key not in found
        found[key] = float(match[3])
    return found


def test_the_metrics_parse() -> None:
    found = samples(metrics(REPORT, succeeded=12.5))
    registry = 'registry="registry.example.com"'
    assert found["tags_removed", (registry, 'policy="releases"')] == 1
    assert found["tags_kept", (registry, 'policy="branches"')] == 10
    assert found["tags_failed", (registry, 'policy="branches"')] == 1
    assert found["bytes_freed", (registry, 'policy="releases"')] == 2_000_000_000
    assert found["list_age_seconds", (registry, 'list="cluster-images.txt"')] == 7500
    assert found["duration_seconds", (registry,)] == 312.5
    assert found["last_run_timestamp_seconds", (registry,)] == REPORT.started.timestamp() + 312.5
    assert found["last_success_timestamp_seconds", (registry,)] == 12.5


@given(HOSTILE)
def test_no_label_gets_out_of_its_value(name: str) -> None:
    report = replace(hostile(name), policies=(Count(name, 1),))
    assert len(samples(metrics(report))) == len(samples(metrics(replace(hostile("name"), policies=(Count("name"),)))))


@given(HOSTILE)
def test_the_last_success_is_read_again(name: str) -> None:
    text = metrics(replace(hostile(name), is_success=True))
    assert last_success(text, name) == REPORT.started.timestamp() + 312.5
    assert last_success(text, f"{name}x") == 0
    assert last_success(metrics(hostile(name), succeeded=99.5), name) == 99.5


@pytest.mark.parametrize(
    ("url", "form"),
    [
        ("https://hooks.slack.com/services/T0/B0/x", "slack"),
        ("https://example.webhook.office.com/webhookb2/x", "teams"),
        ("https://prod-1.westeurope.logic.azure.com:443/workflows/x", "teams"),
        ("https://hooks.slack.com.example.com/services/x", "generic"),
        ("https://example.com/hooks.slack.com", "generic"),
    ],
)
def test_the_format_is_recognised_by_the_host(url: str, form: str) -> None:
    assert format_for(url).value == form


def test_many_rows_say_how_many_are_left_out() -> None:
    rows = tuple(Count(f"p{number}", 1, 1) for number in range(14))
    slack: dict[str, Any] = json.loads(message(replace(REPORT, policies=rows), MessageFormat.SLACK))
    assert "and 4 more" in slack["blocks"][2]["text"]["text"].splitlines()[-1]
    assert "1 more are left out." in markdown(REPORT)


if __name__ == "__main__":
    for name, render in FORMS.items():
        (GOLDEN / name).write_text(render(REPORT))
