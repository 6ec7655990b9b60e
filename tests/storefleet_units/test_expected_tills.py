"""Tills and orders worked out from the ledger: the same as Poseidon's, for any part of the events in any order."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest

from consumers.poseidon.reads import Order
from emulator.business_day import Business, Till
from emulator.fleet import Fleet
from emulator.ledger import Batch, Ledger
from emulator.writing import EventWriter
from fleetwire.errors import StorageError
from fleetwire.identity import Key
from fleetwire.intervals import IntervalSet
from fleetwire.packed_times import packed_times
from fleetwire.topics import Topics
from fleetwire.witness import ViewRead
from storefleet.expected_tills import Held, ServedOrder, held_since, judge_tills, sample_keys
from storefleet.verdict.ledger_file import read_ledger
from tests.feed.events import Written, event
from tests.poseidon.test_fold import Counter

FLEET = Fleet.from_options(stores=2, seed=5, events_per_day=25, mix={"sale": 300, "void": 120, "returned": 120})
EVENTS = 90


class World:
    """A ledger as the emulator writes it, the documents of its events, and a Poseidon."""

    def __init__(self, folder: Path) -> None:
        self.ledger = folder / "ledger.sqlite"
        self.poseidon = Counter(folder)
        self.documents: list[Written] = []
        plans = FLEET.terminals()
        file = Ledger(self.ledger, seed=5, shard=0)
        file.boot([plan.id for plan in plans])
        writer, business, batch = EventWriter(Topics("t"), FLEET), Business(FLEET), Batch()
        for number, plan in enumerate(plans, start=1):
            till, again = Till(plan, business), Till(plan, business)
            for sequence in range(1, EVENTS + 1):
                batch.add_event(number, writer.write(till), attempt=1)
                draft = again.next_event()
                data = msgspec.to_builtins(draft.data)
                self.documents.append(event(plan.id, sequence, draft.type, data, draft.business_day_date))
        file.commit(batch)
        file.close()

    def apply(self, seed: int, share: float) -> dict[str, Held]:
        """Let Poseidon have a part of the events in some order; what it holds."""
        draw = random.Random(seed)
        chosen = [one for one in self.documents if draw.random() < share]
        draw.shuffle(chosen)
        self.poseidon.apply(*chosen)
        held: dict[str, IntervalSet] = {}
        for one in sorted(chosen, key=lambda one: one.sequence):
            held.setdefault(one.source, IntervalSet()).add(one.sequence)
        return {source: Held(numbers) for source, numbers in held.items()}

    def registers(self) -> dict[str, object]:
        """As a client gets them."""
        stores = sorted({plan.terminal.store_id for plan in FLEET.terminals()})
        found = [one for store in stores for one in self.poseidon.reads.registers(store)]
        return {one.terminal: list(msgspec.structs.astuple(one))[1:] for one in found}

    def orders(self, keys: list[Key]) -> dict[Key, ServedOrder]:
        """As a client gets them."""
        return {key: served_order(self.poseidon.reads.order(key)) for key in keys}


def served_order(order: Order | None) -> ServedOrder:
    """What the lab reads from Poseidon's answer."""
    if order is None:
        return ServedOrder(None, [], [])
    kind, day, number, end_time, training, *cents = list(msgspec.structs.astuple(order))[2:10]
    receipt = (kind, day, number, end_time, int(training), *cents) if order.known else None
    return ServedOrder(receipt, order.voided_by, order.returned_by)


@pytest.fixture
def world(tmp_path: Path) -> Any:
    """Six tills with some days of trade."""
    made = World(tmp_path)
    yield made
    made.poseidon.close()


def wrong(found: dict[str, object], expected: dict[str, object]) -> set[str]:
    """Names of what differs."""
    return {name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)}


@pytest.mark.parametrize(("seed", "share"), [(1, 1.0), (2, 0.9), (3, 0.5), (4, 0.1), (5, 0.01)])
def test_the_ledger_says_what_poseidon_says(world: World, seed: int, share: float) -> None:
    """Tills and orders agree, whatever Poseidon has got of the events, in whatever order."""
    held = world.apply(seed, share)
    keys = sample_keys(world.ledger, seed)
    tills = judge_tills(world.ledger, held, world.registers(), world.orders(keys))
    assert wrong(tills.found, tills.expected) == set()
    assert held.keys() <= tills.expected.keys()
    asked = [key for key in keys if key.source in held and key.sequence in held[key.source].surely]
    assert len(tills.expected) == len(held) + len(asked)
    assert share < 1 or len(tills.expected) == len(FLEET.terminals()) + 100


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM receipt WHERE source = 1 AND sequence = (SELECT max(sequence) FROM receipt WHERE source = 1)",
        "UPDATE receipt SET sales_cents = sales_cents + 1 WHERE source = 1",
        "UPDATE till_movement SET cents = cents + 1 WHERE source = 1",
        "UPDATE control SET control_type = 'SIGN_OFF' WHERE source = 1",
        "UPDATE control SET operator_id = 'op-x' WHERE source = 1",
        "DELETE FROM reference WHERE source = 1",
        "INSERT INTO applied VALUES (1, 5000, x'0000000000000000', 0)",
    ],
)
def test_a_spoiled_till_differs(world: World, statement: str) -> None:
    """One register alone."""
    held = world.apply(1, 1.0)
    with contextlib.closing(sqlite3.connect(world.poseidon.path)) as database:
        (name,) = database.execute("SELECT id FROM source WHERE number = 1").fetchone()
        assert database.execute(statement).rowcount
        database.commit()
    tills = judge_tills(world.ledger, held, world.registers(), {})
    assert wrong(tills.found, tills.expected) == {name}


def test_tills_that_are_not_there_and_those_that_nobody_has(world: World) -> None:
    """A missing one and an invented one differ."""
    held = world.apply(1, 1.0)
    registers = world.registers()
    missing = min(registers)
    del registers[missing]
    registers["taco.north.s0001.zx81"] = [0, "", 0, "", 0, 0, 0, 0]
    tills = judge_tills(world.ledger, held, registers, {})
    assert wrong(tills.found, tills.expected) == {missing, "taco.north.s0001.zx81"}


def test_an_order_that_is_shown_otherwise_differs(world: World) -> None:
    """Each field that is served counts, and so do the references."""
    held = world.apply(1, 1.0)
    keys = sample_keys(world.ledger, 1)
    orders = world.orders(keys)
    key, order = next((key, order) for key, order in orders.items() if order.voided_by)
    assert order.receipt is not None
    others = []
    for field, value in enumerate(order.receipt):
        other = value + 1 if isinstance(value, int) else f"{value}x"
        others.append(order._replace(receipt=(*order.receipt[:field], other, *order.receipt[field + 1 :])))
    assert len(others) == 8
    for changed in (
        *others,
        order._replace(receipt=None),
        order._replace(voided_by=[]),
        order._replace(voided_by=order.voided_by * 2),
        order._replace(returned_by=["taco.north.s0001.r01.1"]),
    ):
        tills = judge_tills(world.ledger, held, world.registers(), {**orders, key: changed})
        assert wrong(tills.found, tills.expected) == {str(key)}


def test_what_is_applied_while_tills_are_asked_for_may_show_or_not() -> None:
    """Each commit since is a state that a till may have been shown in."""
    asked_at_ms = 100_000
    times = [1, 2, asked_at_ms - 1, asked_at_ms + 5, asked_at_ms + 5, asked_at_ms + 9]
    read = ViewRead(intervals=[(1, 5), (8, 8)], hashes=bytes(48), applied_at_ms=packed_times(times))
    held = held_since(read, asked_at_ms)
    assert [state.to_list() for state in held.states] == [[(1, 5), (8, 8)], [(1, 5)], [(1, 3)], [(1, 2)]]
    assert held_since(read, asked_at_ms + 60_000) == Held(IntervalSet([(1, 5), (8, 8)]))


def test_a_till_that_is_read_while_it_trades_on(world: World) -> None:
    """It may be as it was when it was asked, or as it was later, and nothing else."""
    draw = world.apply(1, 1.0)
    registers = world.registers()
    name = min(registers)
    whole = draw[name].surely
    earlier = whole.difference(IntervalSet([(whole.last - 3, whole.last)]))
    for held, right in (
        (Held(earlier, [whole]), True),
        (Held(earlier.difference(IntervalSet([(5, 5)])), [earlier, whole]), True),
        (Held(earlier), False),
    ):
        tills = judge_tills(world.ledger, {**draw, name: held}, registers, {})
        assert wrong(tills.found, tills.expected) == (set() if right else {name})


def test_a_ledger_from_before_it_said_what_events_do(world: World) -> None:
    """It is read as ever, and no till is judged by it; a writer of today adds what it lacks."""
    with contextlib.closing(sqlite3.connect(world.ledger)) as database:
        for column in ("effect", "action", "refers_to", "cash_cents", "operator_id", "sales_count"):
            database.execute(f"ALTER TABLE event DROP COLUMN {column}")
        database.commit()
    old = read_ledger(world.ledger)
    assert {len(source.effects) for source in old.sources.values()} == {0}
    assert old.count == len(world.documents)
    with pytest.raises(StorageError, match="cannot be read"):
        judge_tills(world.ledger, {}, {}, {})
    Ledger(world.ledger, seed=5, shard=0).close()
    with pytest.raises(StorageError, match="an older storefleet"):
        judge_tills(world.ledger, world.apply(1, 1.0), world.registers(), {})
    assert read_ledger(world.ledger).sources == old.sources


def test_effects_are_read_with_the_ledger(world: World) -> None:
    """Eight bytes an event, along its numbers."""
    ledger = read_ledger(world.ledger)
    assert {len(source.effects) for source in ledger.sources.values()} == {8 * EVENTS}
    with contextlib.closing(sqlite3.connect(world.ledger)) as database:
        rows = database.execute("SELECT effect FROM event WHERE source = 1 ORDER BY sequence").fetchall()
        database.execute("UPDATE event SET effect = x'00' WHERE source = 1 AND sequence = 3")
        database.commit()
    first = ledger.sources[FLEET.terminals()[0].id]
    assert bytes(first.effects) == b"".join(effect for (effect,) in rows)
    with pytest.raises(StorageError, match="no effect of 8 bytes"):
        read_ledger(world.ledger)
