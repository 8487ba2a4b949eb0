"""What a check found stays with the reports after it, as long as it can be true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dregutil.serve.reported import Reported

FOUND = {"checked": "registry", "findings": [{"check": "manifests", "found": "a part is missing"}], "left_out": 0}
NOTHING = {"checked": "records", "findings": [], "left_out": 0}
ALARM = {"what": "1 image cannot be pulled whole.", "command": "dregutil doctor"}
RUN = {"run": "one", "result": "finished", "undone": False}
NOTE = "what is broken was looked for at 2026-11-26 10:00 UTC"


def take(reported: Reported, health: dict[str, Any], **week: object) -> dict[str, Any]:
    document = {
        "made": "2026-11-26T10:00:00Z" if health is FOUND else "2026-11-26T11:00:00Z",
        "read": None,
        "notes": ["one"],
        "week": {"broken": None, "alarm": None, "last_run": RUN, "stored": 1} | week,
        "health": health,
    }
    made = reported.path.with_name("made")
    made.write_text(json.dumps([document]))
    reported.replace(made)
    assert reported.body is not None
    found: dict[str, Any] = json.loads(reported.body)
    return found


@pytest.fixture
def reported(tmp_path: Path) -> Reported:
    found = Reported(tmp_path / "report.json")
    assert take(found, FOUND, broken=1, alarm=ALARM)["notes"] == ["one"]
    return found


def test_the_reports_after_a_check_have_what_it_found_and_when(reported: Reported) -> None:
    for _ in range(2):
        found = take(reported, NOTHING)
        assert (found["health"], found["notes"]) == (FOUND, ["one", NOTE])
        assert (found["week"]["broken"], found["week"]["alarm"], found["week"]["stored"]) == (1, ALARM, 1)
    again = Reported(reported.path)
    again.load()
    assert again.body == reported.body, "also after a restart"
    other = {"what": "The run one did not end.", "command": None}
    assert take(reported, NOTHING, alarm=other)["week"]["alarm"] == other


@pytest.mark.parametrize("run", [None, RUN | {"run": "two"}, RUN | {"undone": True}])
def test_a_run_or_an_undo_between_ends_that(run: object, reported: Reported) -> None:
    found = take(reported, NOTHING, last_run=run)
    assert (found["health"], found["notes"], found["week"]["broken"]) == (NOTHING, ["one"], None)
    assert take(reported, NOTHING)["health"] == NOTHING


def test_it_is_forgotten_after_a_run_of_this_server_and_replaced_by_the_next_check(reported: Reported) -> None:
    whole = FOUND | {"findings": []}
    assert take(reported, whole, broken=0)["week"]["broken"] == 0
    found = take(reported, NOTHING)
    assert (found["health"], found["week"]["broken"], found["week"]["alarm"]) == (whole, 0, None)
    reported.forget_check()
    assert take(reported, NOTHING)["health"] == NOTHING


def test_a_damaged_file_of_the_check_counts_as_none(reported: Reported) -> None:
    reported.path.with_name("checked.json").write_text('{"made": 1')
    assert take(reported, NOTHING)["health"] == NOTHING
