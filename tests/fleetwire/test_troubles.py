"""What a stage says is wrong with it: told with every snapshot while it lasts, by code and part."""

from __future__ import annotations

import pytest

from fleetwire import troubles
from fleetwire.troubles import DETAIL_CHARACTERS, DISK_FULL, NOT_CONNECTED, Absence, storage_code, tell_storage
from fleetwire.witness import Witness


def told(witness: Witness, *, full: bool = False) -> dict[str, str]:
    """The troubles of its next snapshot."""
    return witness.snapshot("views", 1, 1, full=full, loop_stall_ms=0.0).troubles


def test_a_trouble_is_told_until_it_ends() -> None:
    """With every snapshot, full or not; parts of a stage have theirs apart, and the last one ends it."""
    witness = Witness()
    assert told(witness) == {}
    witness.begin_trouble(DISK_FULL, "no room", part="sales")
    witness.begin_trouble(DISK_FULL, "no room at all", part="orders")
    assert told(witness) == told(witness, full=True) == {DISK_FULL: "no room; no room at all"}
    witness.end_trouble(DISK_FULL, part="sales")
    witness.end_trouble(DISK_FULL, part="sales")
    assert told(witness) == {DISK_FULL: "no room at all"}
    witness.end_trouble(DISK_FULL, part="orders")
    assert told(witness) == {}


def test_particulars_are_bounded() -> None:
    """However much there is to say: a report that is too long would be refused."""
    witness = Witness()
    witness.begin_trouble(DISK_FULL, "x" * 1_000)
    assert len(told(witness)[DISK_FULL]) == DETAIL_CHARACTERS


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        ("database or disk is full", "disk_full"),
        ("the gateway could not store documents: database or disk is full (SQLITE_FULL)", "disk_full"),
        ("No space left on device", "disk_full"),
        ("Disk quota exceeded", "disk_full"),
        ("attempt to write a readonly database", "file_unwritable"),
        ("disk I/O error", "file_unwritable"),
    ],
)
def test_a_disk_that_refuses(refusal: str, code: str) -> None:
    """Its words say whether it is full; when it takes again what it is given, nothing is wrong."""
    assert storage_code(refusal) == code
    witness = Witness()
    tell_storage(witness, "file", "attempt to write a readonly database")
    tell_storage(witness, "file", refusal)
    assert told(witness) == {code: refusal}
    tell_storage(witness, "file", "")
    assert told(witness) == {}


def test_a_short_break_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is away for two seconds without a break is missed, until it is there again."""
    now_s = [100.0]
    monkeypatch.setattr(troubles.time, "monotonic", lambda: now_s[0])
    witness = Witness()
    feed = Absence(witness, NOT_CONNECTED, "feed")
    for now_s[0], present in ((100.0, False), (101.9, False), (101.95, True), (102.0, False), (103.99, False)):
        feed.see(present=present, detail="no feed")
        assert told(witness) == {}
    now_s[0] = 104.0
    feed.see(present=False, detail="no feed: refused")
    assert told(witness) == {NOT_CONNECTED: "no feed: refused"}
    feed.see(present=True, detail="")
    assert told(witness) == {}
