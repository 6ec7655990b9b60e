"""Registers and orders from facts: the same in whatever order, and however often, the events come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumers.feed.fold_file import FoldFile
from consumers.feed.lines import Change
from consumers.poseidon.fold import Fact, PoseidonFold
from consumers.poseidon.reads import Reads, Register
from fleetwire.identity import Key
from fleetwire.witness import Witness
from tests.feed.events import DAY, Written, control, event, retail, returned, sale, till, void

TILL = "taco.west.s0001.r01"
OTHER = "taco.west.s0001.r02"
ALERT = {"component": "PRINTER", "from_state": "OK", "to_state": "PAPER_OUT", "severity": "WARNING"}
MORNING = [
    control(TILL, 1, "START_OF_DAY"),
    control(TILL, 2, "SIGN_ON", "op-7"),
    till(TILL, 3, "LOAN", 10_000),
    sale(TILL, 4, 1_000),
    sale(TILL, 5, 2_000),
    void(TILL, 6, 1_000, f"{TILL}.4"),
    returned(TILL, 7, 500, f"{TILL}.5"),
    sale(TILL, 8, 9_999, training=True),
    till(TILL, 9, "PICKUP", 3_000),
    till(TILL, 10, "PAID_IN", 200),
    event(TILL, 11, "terminal.alert", ALERT),
]


class Counter:
    """Poseidon's fold in a file, fed by hand."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "poseidon.sqlite"
        self.witness = Witness()
        self.told: list[str] = []
        self.fold = PoseidonFold(self.witness, self.told.append)
        self.file: FoldFile[Fact] = FoldFile(self.path, self.fold)
        self.reads = Reads(self.path)

    def apply(self, *events: Written) -> None:
        """One batch."""
        changes = [
            Change(str(at), one.document["_id"], one.document["_rev"], False, one.json) for at, one in enumerate(events)
        ]
        self.file.commit(changes, [], "1")

    def close(self) -> None:
        """Release the files."""
        self.reads.close()
        self.file.close()


@pytest.fixture
def counter(tmp_path: Path) -> Any:
    """A fresh fold."""
    made = Counter(tmp_path)
    yield made
    made.close()


def test_a_register_knows_operator_cash_and_sales_of_the_day(counter: Counter) -> None:
    """The drawer: loan, two sales, one voided, one partly returned, money picked up and paid in; training is play."""
    counter.apply(*MORNING)
    assert counter.reads.register(TILL) == Register(
        terminal=TILL,
        last_sequence=11,
        operator_id="op-7",
        expected_cash_cents=10_000 + 2_000 - 500 - 3_000 + 200,
        business_day_date=DAY,
        sales_count=3,
        gross_cents=1_000 + 2_000 - 500,
        voids_count=1,
        voided_cents=-1_000,
    )


def test_a_settlement_empties_the_drawer_and_a_sign_off_the_counter(counter: Counter) -> None:
    """What comes after it counts from nothing."""
    counter.apply(*MORNING, control(TILL, 12, "SIGN_OFF", "op-7"), till(TILL, 13, "TILL_SETTLE", 8_700))
    register = counter.reads.register(TILL)
    assert register is not None
    assert (register.operator_id, register.expected_cash_cents) == ("", 0)
    counter.apply(till(TILL, 14, "LOAN", 10_000), sale(TILL, 15, 100))
    register = counter.reads.register(TILL)
    assert register is not None
    assert register.expected_cash_cents == 10_100


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(order=st.permutations(range(len(MORNING))), repeated=st.lists(st.integers(0, len(MORNING) - 1), max_size=8))
def test_order_and_repetition_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], repeated: list[int]
) -> None:
    """Any order of any batches, with repeats, ends at the same register and orders."""
    counter = Counter(tmp_path_factory.mktemp("poseidon"))
    straight = Counter(tmp_path_factory.mktemp("poseidon"))
    try:
        straight.apply(*MORNING)
        counter.apply(*(MORNING[at] for at in order[:5]))
        counter.apply(*(MORNING[at] for at in [*repeated, *order[5:]]))
        counter.apply(*(MORNING[at] for at in repeated))
        assert counter.reads.register(TILL) == straight.reads.register(TILL)
        for number in (4, 5, 7):
            key = Key(TILL, number)
            assert counter.reads.order(key) == straight.reads.order(key)
        assert counter.witness.duplicates_absorbed == 2 * len(repeated)
    finally:
        counter.close()
        straight.close()


def test_a_void_before_its_sale_is_pending_and_then_meets_it(counter: Counter) -> None:
    """A reference to a key that nobody knows yet is no error."""
    counter.apply(void(TILL, 6, 1_000, f"{TILL}.4"), returned(OTHER, 1, 300, f"{TILL}.4"))
    order = counter.reads.order(Key(TILL, 4))
    assert order is not None
    assert (order.known, order.voided_by, order.returned_by) == (False, [f"{TILL}.6"], [f"{OTHER}.1"])
    counter.apply(sale(TILL, 4, 1_000))
    order = counter.reads.order(Key(TILL, 4))
    assert order is not None
    assert (order.known, order.grand_cents, order.voided_by) == (True, 1_000, [f"{TILL}.6"])
    assert counter.reads.order(Key(TILL, 99)) is None
    register = counter.reads.register(TILL)
    assert register is not None
    assert register.expected_cash_cents == 0


def test_what_is_applied_is_witnessed_told_and_read_back_after_a_restart(tmp_path: Path) -> None:
    """A second incarnation knows what the first one applied, and takes it as a repeat."""
    first = Counter(tmp_path)
    first.apply(*MORNING)
    assert first.told == [TILL]
    assert first.witness.taken[TILL].to_list() == first.witness.handed_on[TILL].to_list() == [(1, 11)]
    first.close()
    second = Counter(tmp_path)
    assert second.fold.journal.applied[TILL].to_list() == [(1, 11)]
    assert second.witness.handed_on[TILL].to_list() == [(1, 11)]
    second.apply(*MORNING)
    assert second.told == []
    second.close()


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (event(TILL, 1, "transaction.unheard_of", {}), "unknown_type"),
        (event(TILL, 1, "transaction.retail", {}), "schema"),
        (event(TILL, 1, "transaction.retail", retail("SALE", 2**40)), "schema"),
        (event(TILL, 1, "transaction.retail", {**retail("SALE", 5), "surprise": 1}), "schema"),
    ],
)
def test_an_event_of_no_known_shape_is_skipped_and_not_applied(counter: Counter, written: Written, reason: str) -> None:
    """Poseidon never says applied of what it cannot use."""
    counter.apply(written, sale(TILL, 2))
    assert counter.file.skipped == {reason: 1}
    assert counter.fold.journal.applied[TILL].to_list() == [(2, 2)]


def test_a_second_revision_of_an_event_does_not_count_again(counter: Counter) -> None:
    """An event never changes: who rewrites its document does not rewrite the till."""
    counter.apply(sale(TILL, 1, 100))
    changed = sale(TILL, 1, 900)
    document = {**changed.document, "_rev": "2-abc"}
    counter.file.commit([Change("9", f"{TILL}.1", "2-abc", False, msgspec.json.encode(document))], [], "9")
    order = counter.reads.order(Key(TILL, 1))
    assert order is not None
    assert order.grand_cents == 100
