"""Who is recorded: the user and the machine, or what the environment says."""

from __future__ import annotations

import socket

import pytest

from dregutil.journal.actor import host_name, user_name


def test_the_environment_says_who_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DREGUTIL_ACTOR", "kim@pipeline-7")
    assert (user_name(), host_name()) == ("kim", "pipeline-7")
    monkeypatch.setenv("DREGUTIL_ACTOR", "kim")
    assert (user_name(), host_name()) == ("kim", socket.gethostname())


def test_otherwise_it_is_the_user_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DREGUTIL_ACTOR", raising=False)
    assert user_name()
    assert host_name() == socket.gethostname()
