"""Schedules: which command runs when. Pure, but for the time zones of this machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Literal, get_args

from dregutil.errors import UsageError

__all__ = ["COMMANDS", "Command", "Schedule", "Timetable", "timetables"]

Command = Literal["refresh", "cleanup", "collect", "report"]
COMMANDS: tuple[Command, ...] = get_args(Command)

LATE = 3600.0  # seconds: a tick that is older is left out
_FIELDS = (5, 6)
_RANDOM = re.compile(r"(?i)(?:^|[\s,])[hr](?:[\s,(/]|$)")
_LITTLE = 0.001  # seconds: a tick that is due just now has come


@dataclass(frozen=True, slots=True)
class Schedule:
    """A command that runs at the times of a cron line. `registry` is a configured name or an address, empty for the
    default one; `where` names the file and the line of the cron line, for messages."""

    name: str
    run: Command
    cron: str
    args: tuple[str, ...] = ()
    registry: str = ""
    timezone: str = "UTC"
    where: str = ""


class Timetable:
    """When a schedule is due."""

    def __init__(self, schedule: Schedule) -> None:
        """Raises UsageError for a cron line or a time zone that cannot be used."""
        try:
            import croniter
        except ImportError as error:
            raise UsageError(
                "schedules need the library croniter", advice="pip install 'docker-registry-util[team]'"
            ) from error
        self._line = croniter.croniter
        self._cron = schedule.cron
        self._zone = _zone(schedule)
        try:
            if len(schedule.cron.split()) not in _FIELDS and not schedule.cron.startswith("@"):
                raise ValueError("it has five fields: minute, hour, day, month, weekday")
            if _RANDOM.search(schedule.cron):  # croniter draws lots each time it is asked: it would be due at each
                raise ValueError("h and r are no times")
            self.newest(datetime.now(UTC).timestamp())
        except (ValueError, KeyError) as error:
            raise UsageError(
                f"{schedule.where}: the cron line {schedule.cron!r} of {schedule.name} cannot be used: {error}",
                advice='such as "17 2 * * *" for 02:17 every day',
            ) from error

    def newest(self, now: float) -> float:
        """The last time up to `now` at which it was due; both in seconds since 1970."""
        found: float = self._line(self._cron, self._at(now + _LITTLE)).get_prev(float)
        return found

    def next(self, now: float) -> float:
        """The first time after `now` at which it is due."""
        found: float = self._line(self._cron, self._at(now)).get_next(float)
        return found

    def due(self, now: float, known: float) -> float | None:
        """The time of the tick that is to be carried out now, if any; `known` is the newest one that was. Of several
        that were missed it is the last, unless that is more than an hour ago."""
        newest = self.newest(now)
        return newest if newest > known and now - newest <= LATE else None

    def _at(self, seconds: float) -> datetime:
        return datetime.fromtimestamp(seconds, self._zone)


def timetables(schedules: Mapping[str, Schedule]) -> dict[str, Timetable]:
    """Raises UsageError."""
    return {name: Timetable(schedule) for name, schedule in schedules.items()}


def _zone(schedule: Schedule) -> tzinfo:
    if schedule.timezone == "UTC":
        return UTC
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(schedule.timezone)
    except (OSError, ValueError, KeyError) as error:  # also where the machine has no time zones
        raise UsageError(
            f"{schedule.where}: the time zone {schedule.timezone!r} of {schedule.name} is not known here",
            advice='such as "Europe/Berlin"; they come with the package tzdata',
        ) from error
