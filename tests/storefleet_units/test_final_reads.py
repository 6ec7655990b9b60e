"""The final reads: registers beside the truth of the same time, and what the ledger says while it grows."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from fleetwire.errors import StorageError
from fleetwire.intervals import IntervalSet
from fleetwire.ledger_format import DDL
from storefleet.final_reads import Outcomes, expected_registers, final_read, last_resolved_key

TILL = "taco.west.s0001.r01"
TILL_2 = "taco.west.s0001.r02"
BEFORE = {"device_inventory": {TILL: [True, 1, 1], TILL_2: [True, 1, 1]}}
AFTER = {"device_inventory": {TILL: [False, 1, 2], TILL_2: [True, 1, 1]}}


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A ledger with two tills, of which one is online."""
    path = tmp_path / "ledger.sqlite"
    write(path, DDL)
    write(path, f"INSERT INTO source (number, id) VALUES (1, '{TILL}'), (2, '{TILL_2}')")
    write(path, "INSERT INTO register VALUES (1, 1, 'birth', 3, 4, 0), (2, 0, 'lost', 1, 2, 0)")
    return path


def write(path: Path, statements: str) -> None:
    """What the emulator would write."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(statements)
        connection.commit()


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (BEFORE, BEFORE),
        (AFTER, AFTER),
        ({"device_inventory": {TILL: [True, 9, 9]}}, AFTER),
        ({"device_inventory": {}}, AFTER),
    ],
    ids=["as before", "as after", "as never", "empty"],
)  # fmt: skip
def test_a_terminal_that_comes_or_goes_while_a_view_is_read(
    found: dict[str, dict[str, object]], expected: dict[str, dict[str, object]]
) -> None:
    """A register may be as it was before the view was read or as it is after; anything else is held against the newest."""
    view = "device_inventory"
    read = final_read(view, {"registers": found[view]}, (BEFORE, AFTER), at_ms=7)
    assert read is not None
    assert (read.at_ms, read.registers, read.registers_expected) == (7, found[view], expected[view])


@pytest.mark.parametrize("truths", [(None, AFTER), (BEFORE, None), (None, None)])
def test_registers_without_a_truth_are_unread(truths: tuple[dict[str, dict[str, object]] | None, ...]) -> None:
    """Where the ledger could not be read a view of registers counts as unread; a view of events needs no ledger."""
    assert final_read("device_inventory", {"registers": {TILL: [True, 1, 1]}}, truths, at_ms=0) is None
    assert final_read("orders", {"sources": {}}, truths, at_ms=0) is not None


def test_the_truth_about_registers(ledger: Path) -> None:
    """Stores have their status and terminals their register, olympus_dgs the same ones as the device inventory."""
    devices = {TILL: [True, 3, 4], TILL_2: [False, 1, 2]}
    assert expected_registers(ledger) == {
        "store_board": {"taco.west.s0001": "DEGRADED"},
        "device_inventory": devices,
        "olympus_dgs": devices,
    }


def test_a_ledger_that_cannot_be_read(tmp_path: Path) -> None:
    """No ledger, or a broken one, is an error and not an empty truth; what asks again and again goes on without."""
    broken = tmp_path / "broken.sqlite"
    broken.write_bytes(b"no ledger at all" * 100)
    for path in (tmp_path / "none.sqlite", broken):
        with pytest.raises(StorageError, match=path.name):
            expected_registers(path)
        outcomes = Outcomes(path, keeps_applied=True)
        outcomes.read()
        assert (outcomes.rejected, outcomes.applied) == ({}, {})
        assert last_resolved_key(path) is None


@pytest.mark.parametrize(("keeps_applied", "applied"), [(False, {}), (True, {TILL: IntervalSet([(4, 9)])})])
def test_outcomes_are_read_once(ledger: Path, keeps_applied: bool, applied: dict[str, IntervalSet]) -> None:
    """Each read adds the outcomes that are new, and none is looked at twice; applied ones only where they are asked for."""
    outcomes = Outcomes(ledger, keeps_applied=keeps_applied)
    outcomes.read()
    assert outcomes.rejected == {}
    write(
        ledger, "INSERT INTO outcome VALUES (1, 2, 3, 'rejected', 'parm', 'schema', 0), (1, 4, 9, 'applied', '', '', 0)"
    )
    outcomes.read()
    assert (outcomes.rejected, outcomes.applied) == ({TILL: IntervalSet([(2, 3)])}, applied)
    write(ledger, "UPDATE outcome SET first = 1; INSERT INTO outcome VALUES (2, 7, 7, 'rejected', 'parm', 'schema', 0)")
    outcomes.read()
    assert outcomes.rejected == {TILL: IntervalSet([(2, 3)]), TILL_2: IntervalSet([(7, 7)])}
    assert outcomes.applied == applied


def test_the_key_of_a_conflict_may_be_held(ledger: Path) -> None:
    """What was rejected need not be held; refused is what must not be: not the key of which the first content is kept."""
    outcomes = Outcomes(ledger, keeps_applied=False)
    write(
        ledger,
        "INSERT INTO outcome VALUES (1, 1, 1, 'rejected', 'sync_stage', 'key_conflict', 0),"
        " (2, 7, 8, 'rejected', 'parm', 'totals', 0), (2, 9, 9, 'applied', 'poseidon', '', 0)",
    )
    assert outcomes.read() == {TILL, TILL_2}
    assert outcomes.read() == set()
    assert outcomes.rejected == {TILL: IntervalSet([(1, 1)]), TILL_2: IntervalSet([(7, 8)])}
    assert outcomes.refused == {TILL_2: IntervalSet([(7, 8)])}
