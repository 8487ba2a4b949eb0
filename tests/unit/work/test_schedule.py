"""When a schedule is due, and what of a configuration is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from dregutil.cli.configuration import read_configuration
from dregutil.errors import UsageError
from dregutil.work.schedule import Schedule, Timetable, timetables


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def table(cron: str, timezone: str = "UTC") -> Timetable:
    return Timetable(Schedule("nightly", "cleanup", cron, timezone=timezone, where="config.toml:3"))


def test_a_tick_is_due_once_at_its_second_and_after() -> None:
    nightly = table("17 2 * * *")
    tick = at("2026-11-27T02:17:00")
    assert nightly.due(tick - 1, known=at("2026-11-26T02:17:00")) is None
    assert nightly.due(tick, known=at("2026-11-26T02:17:00")) == tick
    assert nightly.due(tick + 600, known=at("2026-11-26T02:17:00")) == tick
    assert nightly.due(tick + 600, known=tick) is None
    assert nightly.next(tick) == at("2026-11-28T02:17:00")


def test_of_missed_ticks_the_last_is_made_up_for_within_an_hour() -> None:
    hourly = table("0 * * * *")
    assert hourly.due(at("2026-11-27T09:30:00"), known=at("2026-11-27T04:00:00")) == at("2026-11-27T09:00:00")
    nightly = table("17 2 * * *")
    assert nightly.due(at("2026-11-27T03:17:00"), known=0) == at("2026-11-27T02:17:00")
    assert nightly.due(at("2026-11-27T03:17:01"), known=0) is None


def test_a_time_zone_moves_the_ticks() -> None:
    berlin = table("17 2 * * *", "Europe/Berlin")
    assert berlin.newest(at("2026-11-27T12:00:00")) == at("2026-11-27T01:17:00")
    assert berlin.newest(at("2026-07-27T12:00:00")) == at("2026-07-27T00:17:00")


def test_a_sixth_field_is_seconds() -> None:
    now = at("2026-11-27T02:17:05")
    assert table("* * * * * */2").newest(now) == now - 1


@pytest.mark.parametrize(
    "cron",
    [
        "",
        "17 2",
        "61 * * * *",
        "* * * *",
        "a b c d e",
        "0 0 30 2 *",
        "* * * * * * * *",
        "R 2 * * *",
        "0 r(1-5) * * *",
        "0,h 2 * * *",
    ],
)
def test_a_cron_line_that_cannot_be_used_is_refused_with_its_place(cron: str) -> None:
    with pytest.raises(UsageError, match=r"config\.toml:3: the cron line .* of nightly cannot be used"):
        table(cron)


def test_a_time_zone_that_is_not_known_is_refused() -> None:
    for zone in ("Europe/Berln", "../../etc/passwd", "/etc/localtime"):
        with pytest.raises(UsageError, match=r"config\.toml:3: the time zone"):
            table("* * * * *", zone)


GOOD = """
default = "prod"
[registries.prod]
address = "registry.example.com"

[schedule.nightly]
run = "cleanup"
cron = "17 2 * * *"
args = ["--policy", "policy.yml", "--approve", "-y"]
timezone = "Europe/Berlin"

[schedule.hourly]
registry = "other.example.com:5000"
run = "refresh"
cron = "5 * * * *"
"""


def configured(folder: Path, text: str) -> dict[str, Schedule]:
    path = folder / "config.toml"
    path.write_text(text)
    return dict(read_configuration(path).schedules)


def test_schedules_are_read(tmp_path: Path) -> None:
    found = configured(tmp_path, GOOD)
    where = f"{tmp_path}/config.toml"
    assert found == {
        "nightly": Schedule(
            "nightly",
            "cleanup",
            "17 2 * * *",
            ("--policy", "policy.yml", "--approve", "-y"),
            timezone="Europe/Berlin",
            where=f"{where}:8",
        ),
        "hourly": Schedule("hourly", "refresh", "5 * * * *", registry="other.example.com:5000", where=f"{where}:15"),
    }
    assert [*timetables(found)] == ["nightly", "hourly"]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('run = "cleanup"', 'run = "apply"', ":7: 'apply' does not run on a schedule"),
        ('run = "cleanup"', "", ":6: .schedule.nightly. has no run"),
        ('cron = "17 2 * * *"', "cron = 17", ":8: cron is a string, not a whole number"),
        ('cron = "17 2 * * *"', "", "has no cron"),
        ('args = ["--policy", "policy.yml", "--approve", "-y"]', 'args = "-y"', ":9: args is an array of strings"),
        ('args = ["--policy", "policy.yml", "--approve", "-y"]', "args = [1]", ":9: args is an array of strings"),
        ('timezone = "Europe/Berlin"', 'timezone = ""', ":10: timezone is a string"),
        ('timezone = "Europe/Berlin"', 'time_zone = "UTC"', ":10: unknown key 'time_zone' in .schedule.nightly."),
        ("[schedule.nightly]", '[schedule."night ly"]', "'night ly' is not a name"),
        ('registry = "other.example.com:5000"', 'registry = "a b"', ":13: not a registry address"),
        ("[schedule.hourly]", "[schedule]", "is a table: "),
    ],
)
def test_what_is_wrong_in_a_schedule_is_named_with_its_line(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    assert before in GOOD
    with pytest.raises(UsageError, match=message):
        configured(tmp_path, GOOD.replace(before, after))


def test_where_clocks_are_set_back_a_time_that_comes_twice_is_due_twice() -> None:
    berlin = table("30 2 * * *", "Europe/Berlin")
    assert berlin.next(at("2026-10-24T12:00:00")) == at("2026-10-25T00:30:00")
    assert berlin.next(at("2026-10-25T00:30:00")) == at("2026-10-25T01:30:00")


def test_where_clocks_are_set_forward_a_time_that_is_left_out_is_due_at_that_moment_once() -> None:
    berlin = table("30 2 * * *", "Europe/Berlin")
    assert berlin.next(at("2026-03-28T12:00:00")) == at("2026-03-29T01:00:00")
    assert berlin.next(at("2026-03-29T01:00:00")) == at("2026-03-30T00:30:00")
    assert berlin.newest(at("2026-03-29T12:00:00")) == at("2026-03-29T01:00:00")


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo"])
@pytest.mark.parametrize("cron", ["30 2 * * *", "0 0 * * *", "59 1 * * *", "*/30 1-3 * * *", "@daily"])
def test_looking_back_finds_the_times_that_looking_forward_does(cron: str, zone: str) -> None:
    """A worker that looks each second would else leave one out, or see one twice, where clocks are changed."""
    times = table(cron, zone)
    for begin in ("2026-03-07", "2026-03-28", "2026-04-04", "2026-04-23", "2026-10-03", "2026-10-24", "2026-10-31"):
        start = at(f"{begin}T00:00:00")
        asked = [start + minute * 60 for minute in range(5, 3 * 24 * 60, 15)]
        back = {times.newest(one) for one in asked}
        found, ahead = start, set()
        while (found := times.next(found)) <= asked[-1]:
            ahead.add(found)
        assert {one for one in back if one > start} == ahead
