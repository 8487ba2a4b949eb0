"""What a process must not leave to the next one at once: a repository to which it sent a DELETE that has no answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dregutil.apply.repository import RepositoryRun
from dregutil.errors import DeniedError, DregutilError, OutcomeUnknownError
from dregutil.plan.model import Action


@pytest.mark.parametrize(
    ("error", "is_unanswered"), [(OutcomeUnknownError("no answer"), True), (DeniedError("refused"), False)]
)
async def test_a_tag_whose_delete_has_no_answer_is_unanswered(
    monkeypatch: pytest.MonkeyPatch, error: DregutilError, is_unanswered: bool
) -> None:
    run = RepositoryRun.__new__(RepositoryRun)
    notes: list[Any] = []
    run._run = SimpleNamespace(note=lambda *said: notes.append(said))  # type: ignore[assignment]
    run._stopped, run._has_lost_answer = "", False
    run.work = SimpleNamespace(steps=[])  # type: ignore[assignment]
    state = SimpleNamespace(step=SimpleNamespace(action=Action.UNTAG))

    async def nothing(*_: object) -> str:
        return ""

    async def untag(_: object) -> None:
        raise error

    monkeypatch.setattr(run, "_reason_to_leave", nothing)
    monkeypatch.setattr(run, "_untag", untag)
    monkeypatch.setattr("dregutil.apply.repository.restore_tags", nothing)
    await run._attempt(state)  # type: ignore[arg-type]
    assert len(notes) == 1
    assert run.has_unanswered is is_unanswered
