"""What Poseidon must say of tills and orders, worked out from the ledger's rows by the lab's own rules.

It is worked out for the events that Poseidon's view holds: what it lacks or holds beyond the ledger is told elsewhere, and
a till that shows the doings of an event that no till ever did differs here too. Pure but for reading the ledger; one pass,
one source in memory at a time.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, NamedTuple

from fleetwire.effects import RETURN, SETTLEMENT, SIGN_OFF, SIGN_ON, VOID, Receipt, Reference, effect_hash
from fleetwire.errors import StorageError
from fleetwire.identity import Key
from fleetwire.intervals import IntervalSet
from fleetwire.packed_times import unpacked_times
from fleetwire.witness import ViewRead
from storefleet.ledger_rows import open_ledger, reading

SAMPLE_KEYS: Final = 100
CLOCKS_APART_MS: Final = 1_000
"""So far the clocks of two processes on one machine are trusted to agree."""
REFERRED_KEYS: Final = 75
"""At most so many of the sample are orders that a return or void refers to."""
_RECEIPTS: Final = ("SALE", RETURN)
_MOVEMENTS: Final = ("LOAN", "PAID_IN", "PICKUP", "PAID_OUT", "SAFE_DROP", SETTLEMENT)
_ROWS: Final = """
SELECT source.id, sequence, business_day_date, amount_cents, sales_count, effect, action, refers_to, cash_cents,
  operator_id
FROM event JOIN source ON number = source ORDER BY event.source, event.rowid
"""
_ORDERS: Final = """
SELECT source.id, sequence, action, refers_to FROM event JOIN source ON number = source
WHERE action IN ('SALE', 'RETURN', 'VOID')
"""


class Row(NamedTuple):
    """An event as the ledger has it."""

    source: str
    sequence: int
    business_day_date: str
    amount_cents: int
    sales_count: int
    effect: bytes | None
    action: str
    refers_to: int
    cash_cents: int
    operator_id: str


class Held(NamedTuple):
    """What a view held of one source: ``surely`` when it was asked for tills, and each later state until it was read."""

    surely: IntervalSet
    later: Sequence[IntervalSet] = ()

    @property
    def states(self) -> Iterator[IntervalSet]:
        """The latest first."""
        yield from reversed(self.later)
        yield self.surely

    @property
    def possibly(self) -> IntervalSet:
        """All that it held when it was read."""
        return self.later[-1] if self.later else self.surely


class ServedOrder(NamedTuple):
    """An order as a client gets it: ``receipt`` is the eight fields that are served, None when it is not known."""

    receipt: tuple[Any, ...] | None
    voided_by: list[str]
    returned_by: list[str]


class Tills(NamedTuple):
    """By name (a terminal's id, or an order's key), in plain values."""

    found: dict[str, object]
    expected: dict[str, object]


def sample_keys(ledger: Path, seed: int) -> list[Key]:
    """Orders to ask for, those first that something refers to; raises StorageError."""
    draw = random.Random(seed)
    referred, others = _Sample(draw, REFERRED_KEYS), _Sample(draw, SAMPLE_KEYS)
    with reading(ledger), closing(open_ledger(ledger)) as database:
        for source, sequence, action, refers_to in database.execute(_ORDERS):
            if refers_to:
                referred.offer(Key(source, refers_to))
            if action != VOID:
                others.offer(Key(source, sequence))
    return list(dict.fromkeys([*referred.keys, *others.keys]))[:SAMPLE_KEYS]


class _Sample:
    """So many of all that are offered, each as likely as the other."""

    def __init__(self, draw: random.Random, size: int) -> None:
        self.keys: list[Key] = []
        self._draw = draw
        self._size = size
        self._offered = 0

    def offer(self, key: Key) -> None:
        self._offered += 1
        if len(self.keys) < self._size:
            self.keys.append(key)
        elif (place := int(self._draw.random() * self._offered)) < self._size:
            self.keys[place] = key


def held_since(read: ViewRead, asked_at_ms: int) -> Held:
    """What a view held at a moment before its read, by the times of application that it tells."""
    numbers = IntervalSet(read.intervals)
    times_ms = unpacked_times(read.applied_at_ms)
    sure_ms = asked_at_ms - CLOCKS_APART_MS
    if not times_ms or max(times_ms) < sure_ms:
        return Held(numbers)
    late = sorted((at_ms, one) for at_ms, one in zip(times_ms, numbers.numbers(), strict=True) if at_ms >= sure_ms)
    surely = numbers.difference(IntervalSet((one, one) for one in sorted(one for _, one in late)))
    states: list[IntervalSet] = []
    for _, commit in groupby(late, key=itemgetter(0)):
        state = (states[-1] if states else surely).copy()
        for _, one in commit:
            state.add_range(one, one)
        states.append(state)
    return Held(surely, states)


def judge_tills(
    ledger: Path,
    held: Mapping[str, Held],
    registers: Mapping[str, object],
    orders: Mapping[Key, ServedOrder],
) -> Tills:
    """What was found beside what must be; raises StorageError, also for a ledger that does not say what events do."""
    tills = Tills(dict(registers), {})
    by_source: dict[str, dict[int, ServedOrder]] = defaultdict(dict)
    for key, order in orders.items():
        by_source[key.source][key.sequence] = order
    with reading(ledger), closing(open_ledger(ledger)) as database:
        for source, group in groupby(map(Row._make, database.execute(_ROWS)), key=itemgetter(0)):
            holding = held.get(source)
            if holding is None:
                continue
            rows = list(group)
            if _missing_in_ledger(rows, holding):  # what it does to the till nobody can say; it is unexpected as it is
                tills.found.pop(source, None)
                continue
            if any(row.effect is None for row in rows):
                raise StorageError(
                    f"ledger {ledger} is of an older storefleet: it does not say what events do to tills"
                )
            states = (_register(rows, state) for state in holding.states if state)
            if (expected := _agreeing(states, registers.get(source))) is not None:
                tills.expected[source] = expected
            _judge_orders(rows, holding, by_source.get(source, {}), tills)
    return tills


def _missing_in_ledger(rows: Sequence[Row], held: Held) -> bool:
    committed = IntervalSet((row.sequence, row.sequence) for row in rows)
    return bool(held.possibly.difference(committed))


def _agreeing(states: Iterable[object], found: object) -> object | None:
    """The state that was found, or else the latest; None where there is none."""
    latest = None
    for state in states:
        if state == found:
            return state
        latest = state if latest is None else latest
    return latest


def _register(rows: Sequence[Row], held: IntervalSet) -> list[object]:
    """[last_sequence, operator_id, expected_cash_cents, business_day_date, sales_count, gross_cents, voids_count,
    voided_cents] of a terminal whose events ``held`` are known."""
    drawer_cents, operator_id, day = 0, "", ""
    cash: dict[int, int] = {}
    voided: list[int] = []
    """Sales that were voided since the drawer was emptied last."""
    days: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    known = rows if not _missing(rows, held) else [row for row in rows if row.sequence in held]
    for row in known:
        action = row.action
        if action in _MOVEMENTS:
            drawer_cents += row.cash_cents
            if action == SETTLEMENT:
                drawer_cents, voided = 0, []
            continue
        if not action:
            continue
        day = row.business_day_date
        if action in _RECEIPTS:
            drawer_cents += row.cash_cents
            cash[row.sequence] = row.cash_cents
            days[day][0] += row.sales_count
            days[day][1] += row.amount_cents
        elif action == VOID:
            voided.append(row.refers_to)
            days[day][2] += 1
            days[day][3] += row.amount_cents
        elif action in (SIGN_ON, SIGN_OFF):
            operator_id = row.operator_id
    drawer_cents -= sum(cash.get(number, 0) for number in voided)
    last = known[-1].sequence if known else 0
    return [last, operator_id, drawer_cents, day, *(days[day] if day else (0, 0, 0, 0))]


def _missing(rows: Sequence[Row], held: IntervalSet) -> bool:
    whole = IntervalSet([(rows[0].sequence, rows[-1].sequence)])
    return bool(whole.difference(held))


def _judge_orders(rows: Sequence[Row], held: Held, orders: Mapping[int, ServedOrder], tills: Tills) -> None:
    for row in rows:
        order = orders.get(row.sequence)
        if order is None or row.sequence not in held.surely:
            continue
        name = str(Key(row.source, row.sequence))
        tills.found[name] = [_effect_text(row, order), sorted(order.voided_by), sorted(order.returned_by)]
        references = [_references(rows, row, kind, held) for kind in (VOID, RETURN)]
        found = (set(order.voided_by), set(order.returned_by))
        shown = [
            sorted(theirs if surely <= theirs <= possibly else possibly)
            for (surely, possibly), theirs in zip(references, found, strict=True)
        ]
        tills.expected[name] = [(row.effect or b"").hex(), *shown]


def _references(rows: Sequence[Row], sale: Row, kind: str, held: Held) -> tuple[set[str], set[str]]:
    """Keys of what takes this sale back: what surely was held, and what possibly was."""
    numbers = [row.sequence for row in rows if row.refers_to == sale.sequence and row.action == kind]
    keys = [
        {str(Key(sale.source, number)) for number in numbers if number in known}
        for known in (held.surely, held.possibly)
    ]
    return keys[0], keys[1]


def _effect_text(row: Row, order: ServedOrder) -> str:
    """The effect of an order as it is served; what is not served of it is the ledger's own."""
    if order.receipt is None:
        return "absent"
    reference = None
    if row.action == RETURN:
        reference = Reference(RETURN, str(Key(row.source, row.refers_to)), row.business_day_date, row.amount_cents)
    receipt = Receipt._make([*order.receipt, row.cash_cents, row.sales_count, row.amount_cents])
    return effect_hash((receipt, reference, None, None)).hex()
