"""What a lab waits for, in the words of whoever waits with it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from fleetwire.errors import ControlError
from storefleet import waiting_words
from storefleet.waiting_words import what_it_waits_for


def said(monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any] | Exception) -> str:
    """The line for a lab that answers so, with 20 s left."""

    async def ask(*_: object) -> dict[str, Any]:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(waiting_words, "ask_lab", ask)
    return what_it_waits_for("lab", time.monotonic() + 20.2)


@pytest.mark.parametrize(
    ("phase", "waiting", "distances", "words"),
    [
        ("trading", "", {"ledger": 0, "sales": 0}, "trading: nothing is off"),
        ("trading", "", {"ledger": 0, "sales": 7}, "trading: off: sales 7"),
        ("wait for recovery", "12 events have no outcome; at most 9 s", {"sales": 7},
         "wait for recovery: 12 events have no outcome"),
        ("final reads", "", {"sales": 7}, "final reads"),
        ("stop", "", {"store_board": 200}, "stop"),
        ("check", "", {"store_board": 200}, "check"),
    ],
)  # fmt: skip
def test_by_phase(
    monkeypatch: pytest.MonkeyPatch, phase: str, waiting: str, distances: dict[str, int], words: str
) -> None:
    """Once the lab reads, views that stop are no news."""
    answer = {"waiting_for": "", "picture": {"phase": phase, "waiting": waiting, "distances": distances}}
    assert said(monkeypatch, answer) == f"lab: {words}; at most 20 s more"


def test_somebody_else_and_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whom a lab waits for is said; so is that it does not answer."""
    picture = {"phase": "starting", "waiting": "", "distances": {}}
    waits = said(monkeypatch, {"waiting_for": "parm", "picture": picture})
    assert waits == "lab: waiting until somebody runs parm; at most 20 s more"
    assert said(monkeypatch, ControlError("gone")) == "lab: no answer yet; at most 20 s more"
