"""Who is recorded: the user and the machine, or what the environment says."""

from __future__ import annotations

import socket

import pytest

from dregutil.journal.actor import approvers, host_name, planner, scheduled, user_name


def test_the_environment_says_who_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DREGUTIL_ACTOR", "kim@pipeline-7")
    assert (user_name(), host_name()) == ("kim", "pipeline-7")
    monkeypatch.setenv("DREGUTIL_ACTOR", "kim")
    assert (user_name(), host_name()) == ("kim", socket.gethostname())


def test_otherwise_it_is_the_user_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DREGUTIL_ACTOR", raising=False)
    assert user_name()
    assert host_name() == socket.gethostname()


def test_a_user_may_be_a_mail_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DREGUTIL_ACTOR", "kim@example.com@pipeline-7")
    assert (user_name(), host_name()) == ("kim@example.com", "pipeline-7")


def test_who_planned_and_who_approved(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DREGUTIL_PLANNED_BY", "DREGUTIL_APPROVED_BY"):
        monkeypatch.delenv(name, raising=False)
    assert (planner(), approvers()) == ("", [])
    monkeypatch.setenv("DREGUTIL_PLANNED_BY", "kim")
    monkeypatch.setenv("DREGUTIL_APPROVED_BY", "lee\n mo, the second \nlee\n\n")
    assert (planner(), approvers()) == ("kim", ["lee", "mo, the second"])


def test_for_which_time_of_a_schedule_this_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for said, expected in (
        ("1764227820.5 every night", ("every night", 1764227820.5)),
        ("soon nightly", None),
        ("1764227820", None),
        ("", None),
    ):
        monkeypatch.setenv("DREGUTIL_SCHEDULED", said)
        assert scheduled() == expected
    monkeypatch.delenv("DREGUTIL_SCHEDULED")
    assert scheduled() is None
