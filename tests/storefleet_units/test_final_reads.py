"""The final reads: registers beside the truth of the same time, and what the ledger says while it grows."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fleetwire.errors import StorageError
from fleetwire.intervals import IntervalSet
from fleetwire.ledger_format import DDL
from storefleet.ledger_outcomes import Outcomes, last_resolved_key

TILL = "taco.west.s0001.r01"
TILL_2 = "taco.west.s0001.r02"
BEFORE = {"device_inventory": {TILL: [True, 1, 1], TILL_2: [True, 1, 1]}}
AFTER = {"device_inventory": {TILL: [False, 1, 2], TILL_2: [True, 1, 1]}}
HARDWARE = {TILL: ("register", "R1", "Counter", "8.4", "11"), TILL_2: ("kiosk", "K1", "Pillar", "8.4", "12")}


def truth_of(registers: dict[str, dict[str, object]]) -> Any:
    """A truth in which every register has one value that is right, and changed at 5."""
    from storefleet.expected_registers import Truth

    acceptable = {view: {name: [value] for name, value in of_view.items()} for view, of_view in registers.items()}
    return Truth(acceptable, {view: dict.fromkeys(of_view, 5) for view, of_view in registers.items()})


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A ledger with two tills, of which one is online."""
    path = tmp_path / "ledger.sqlite"
    write(path, DDL)
    write(path, f"INSERT INTO source (number, id) VALUES (1, '{TILL}'), (2, '{TILL_2}')")
    write(path, "INSERT INTO register VALUES (1, 1, 'birth', 3, 4, 0), (2, 0, 'lost', 1, 2, 7)")
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
    from storefleet.final_reads import registers_read

    view = "device_inventory"
    read = registers_read(view, found[view], (truth_of(BEFORE), truth_of(AFTER)))
    assert read is not None
    assert (read.registers, read.registers_expected) == (found[view], expected[view])
    assert read.registers_changed_ms == {TILL: 5, TILL_2: 5}


@pytest.mark.parametrize("truths", [(None, AFTER), (BEFORE, None), (None, None)])
def test_registers_without_a_truth_are_unread(truths: tuple[dict[str, dict[str, object]] | None, ...]) -> None:
    """Where the ledger could not be read a view of registers counts as unread."""
    from storefleet.final_reads import registers_read

    known = [truth if truth is None else truth_of(truth) for truth in truths]
    assert registers_read("device_inventory", {TILL: [True, 1, 1]}, known) is None


def test_the_truth_about_registers(ledger: Path) -> None:
    """Stores have their status with its counts, terminals their whole register, olympus_dgs the device inventory's."""
    from storefleet.expected_registers import LaterSession, expected_registers

    devices = {
        TILL: [[True, "birth", 3, 4, *HARDWARE[TILL]]],
        TILL_2: [
            [False, "lost", 1, 2, *HARDWARE[TILL_2]],
            [False, "planned_close", 1, 2, *HARDWARE[TILL_2]],
            LaterSession(1, 2, HARDWARE[TILL_2]),
        ],
    }
    truth = expected_registers(ledger, HARDWARE)
    assert truth.registers == {
        "store_board": {"taco.west.s0001": [["DEGRADED", 1, 2]]},
        "device_inventory": devices,
        "olympus_dgs": devices,
    }
    assert truth.changed_ms == {
        "store_board": {"taco.west.s0001": 7},
        "device_inventory": {TILL: 0, TILL_2: 7},
        "olympus_dgs": {TILL: 0, TILL_2: 7},
    }


@pytest.mark.parametrize(
    ("found", "right"),
    [
        ([False, "lost", 1, 3], True),
        ([False, "lost", 2, 1], True),
        ([False, "planned_close", 1, 9], True),
        ([False, "lost", 1, 1], False),
        ([False, "lost", 0, 9], False),
        ([True, "birth", 1, 3], False),
        ([0, "lost", 1, 3], False),
        ([False, "birth", 1, 3], False),
        ([False, "lost", 1, "3"], False),
        ([False, "lost"], False),
    ],
)
def test_a_session_of_which_only_the_broker_knows(ledger: Path, found: list[object], right: bool) -> None:
    """The will of a CONNECT whose answer was cut off names a later session than the ledger; never an earlier one."""
    from storefleet.expected_registers import expected_registers
    from storefleet.final_reads import expected_of

    truth = expected_registers(ledger, HARDWARE).registers["device_inventory"]
    shown = {TILL: [True, "birth", 3, 4, *HARDWARE[TILL]], TILL_2: [*found, *HARDWARE[TILL_2]]}
    expected = expected_of(shown, [truth])
    assert expected == (shown if right else {**shown, TILL_2: [False, "lost", 1, 2, *HARDWARE[TILL_2]]})
    msgspec.json.encode(expected)
    assert expected_of({**shown, TILL_2: [*found, *HARDWARE[TILL]]}, [truth])[TILL_2] == truth[TILL_2][0]


@pytest.mark.parametrize(
    ("sessions", "found", "right"),
    [
        ({}, [False, "lost", 2, 77], True),
        ({}, [False, "lost", 3, 1], False),
        ({TILL_2: (1, 4)}, [False, "lost", 1, 4], True),
        ({TILL_2: (1, 4)}, [False, "lost", 1, 5], False),
        ({TILL_2: (1, 4)}, [False, "lost", 999_999, 77], False),
        ({TILL_2: (1, 2)}, [False, "lost", 1, 2], True),
    ],
)
def test_no_session_is_later_than_the_last_that_a_terminal_has_begun(
    ledger: Path, sessions: dict[str, tuple[int, int]], found: list[object], right: bool
) -> None:
    """By the emulator's word; where it says nothing, none of a boot that the ledger does not know."""
    from storefleet.expected_registers import bounded, expected_registers
    from storefleet.final_reads import expected_of

    write(
        ledger, "CREATE TABLE till (source INTEGER PRIMARY KEY, boot INTEGER); INSERT INTO till VALUES (1, 3), (2, 2)"
    )
    truth = bounded(expected_registers(ledger, HARDWARE), sessions)
    shown = {TILL: [True, "birth", 3, 4, *HARDWARE[TILL]], TILL_2: [*found, *HARDWARE[TILL_2]]}
    for view in ("device_inventory", "olympus_dgs"):
        assert (expected_of(shown, [truth.registers[view]]) == shown) is right


@pytest.mark.parametrize(
    ("found", "right"),
    [
        (None, True),
        ([False, "lost", 1, 1], True),
        ([False, "lost", 1, 2], False),
        ([False, "lost", 2, 1], False),
        ([True, "birth", 1, 1], False),
    ],
)
def test_a_terminal_that_was_never_acknowledged(ledger: Path, found: list[object] | None, right: bool) -> None:
    """The broker may have taken its first CONNECT, and published its will: it is offline, or nobody has heard of it."""
    from storefleet.expected_registers import bounded, expected_registers
    from storefleet.final_reads import registers_read

    write(
        ledger, "CREATE TABLE till (source INTEGER PRIMARY KEY, boot INTEGER); INSERT INTO till VALUES (1, 3), (2, 1)"
    )
    write(ledger, "DELETE FROM register WHERE source = 2")
    truth = bounded(expected_registers(ledger, HARDWARE), {TILL_2: (1, 1)})
    shown: dict[str, object] = {TILL: [True, "birth", 3, 4, *HARDWARE[TILL]]}
    if found is not None:
        shown[TILL_2] = [*found, *HARDWARE[TILL_2]]
    read = registers_read("device_inventory", shown, [truth, truth])
    assert read is not None
    assert (read.registers == read.registers_expected) is right


def test_a_store_of_which_no_terminal_was_ever_acknowledged(ledger: Path) -> None:
    """It is not on the board, or offline."""
    from storefleet.expected_registers import expected_registers

    write(ledger, "DELETE FROM register")
    board = expected_registers(ledger, HARDWARE).registers["store_board"]["taco.west.s0001"]
    assert board[0] is None
    assert sorted(map(str, board[1:])) == sorted(
        str([status, 0, total]) for status in ("OFFLINE", "PLANNED_CLOSED") for total in (1, 2)
    )


@pytest.mark.parametrize(
    ("rows", "statuses"),
    [
        ("(1, 1, 'birth', 1, 1, 0), (2, 1, 'birth', 1, 1, 0)", [["OPEN", 2, 2]]),
        ("(1, 1, 'birth', 1, 1, 0), (2, 0, 'planned_close', 1, 1, 0)", [["DEGRADED", 1, 2]]),
        (
            "(1, 0, 'planned_close', 1, 1, 0), (2, 0, 'planned_close', 1, 1, 0)",
            [["PLANNED_CLOSED", 0, 2], ["OFFLINE", 0, 2]],
        ),
        (
            "(1, 0, 'lost', 1, 1, 0), (2, 0, 'planned_close', 1, 1, 0)",
            [["OFFLINE", 0, 2], ["PLANNED_CLOSED", 0, 2]],
        ),
        ("(1, 1, 'birth', 1, 1, 0)", [["OPEN", 1, 1], ["DEGRADED", 1, 2]]),
    ],
)
def test_what_the_board_may_show(ledger: Path, rows: str, statuses: list[object]) -> None:
    """Whether a goodbye arrived before the will did, and whether a terminal that was never acknowledged was heard, the
    ledger cannot know; all else is one value."""
    from storefleet.expected_registers import expected_registers

    write(ledger, f"DELETE FROM register; INSERT INTO register VALUES {rows}")
    assert expected_registers(ledger, HARDWARE).registers["store_board"] == {"taco.west.s0001": statuses}


def test_a_ledger_that_cannot_be_read(tmp_path: Path) -> None:
    """No ledger, or a broken one, is an error and not an empty truth; what asks again and again goes on without."""
    from storefleet.expected_registers import expected_registers

    broken = tmp_path / "broken.sqlite"
    broken.write_bytes(b"no ledger at all" * 100)
    for path in (tmp_path / "none.sqlite", broken):
        with pytest.raises(StorageError, match=path.name):
            expected_registers(path, HARDWARE)
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
