"""Recovery: a view is back once what was committed before is proven to be there, or its registers are right again."""

from __future__ import annotations

from fleetwire.intervals import IntervalSet
from storefleet.convergence import Recovery

TILL = "taco.west.s0001.r01"
OTHER = "taco.west.s0001.r02"


def held(**numbers: int) -> dict[str, IntervalSet]:
    """Holdings of the two tills, from 1 to a number."""
    sources = {"till": TILL, "other": OTHER}
    return {sources[name]: IntervalSet([(1, last)]) for name, last in numbers.items()}


def test_each_view_has_its_own_time() -> None:
    """Every view recovers by itself, at the first look that finds it caught up; all must have."""
    orders, sales = held(till=2), held(till=3)
    recovery = Recovery(1_000, held(till=3), {"orders": [orders], "sales": [sales]}, ["board"])
    assert recovery.views == {"orders", "sales", "board"}
    assert not recovery.observe(1_100, {}, {"board": 1})
    assert recovery.converged_ms == {"sales": 1_100}
    assert recovery.missing("orders") == 1
    assert not recovery.observe(1_200, {}, {"board": 0})
    orders[TILL].add(3)
    assert recovery.observe(1_300, {}, {"board": 7})
    assert recovery.converged_ms == {"sales": 1_100, "board": 1_200, "orders": 1_300}
    assert recovery.observe(1_400, {}, {"board": 7})
    assert recovery.converged_ms["orders"] == 1_300


def test_trading_goes_on() -> None:
    """What is committed after the fault was lifted is not waited for, though the ledger's sets grow."""
    committed = held(till=3)
    orders = held(till=3)
    recovery = Recovery(0, committed, {"orders": [orders]}, [])
    committed[TILL].add_range(4, 100)
    assert recovery.observe(100, {}, {})


def test_evidence_adds_up() -> None:
    """Several proofs and the rejected events together cover what is missing, and a till that is unheard of stays so."""
    stored = {TILL: IntervalSet([(1, 3)])}
    downstream: dict[str, IntervalSet] = {}
    rejected: dict[str, IntervalSet] = {}
    recovery = Recovery(0, held(till=6, other=2), {"gateway": [stored, downstream]}, [])
    assert not recovery.observe(100, rejected, {})
    assert recovery.missing("gateway") == 3 + 2
    downstream[TILL] = IntervalSet([(5, 6)])
    assert not recovery.observe(200, rejected, {})
    assert recovery.missing("gateway") == 1 + 2
    rejected[TILL] = IntervalSet([(4, 4)])
    downstream[OTHER] = IntervalSet([(1, 1)])
    assert not recovery.observe(300, rejected, {})
    assert recovery.missing("gateway") == 1
    rejected[OTHER] = IntervalSet([(2, 2)])
    assert recovery.observe(400, rejected, {})
    assert (recovery.missing("gateway"), recovery.missing("unheard")) == (0, 0)


def test_more_than_was_committed_is_no_hindrance() -> None:
    """A view that holds more than was committed has recovered; nothing committed is recovered at once."""
    assert Recovery(0, held(till=1), {"orders": [held(till=9, other=9)]}, []).observe(1, {}, {})
    assert Recovery(0, {}, {"orders": [{}]}, []).observe(1, {}, {})


def test_registers_must_be_right_at_one_look() -> None:
    """A register view has recovered when no register differs, and stays so when one differs later."""
    recovery = Recovery(0, {}, {}, ["board", "inventory"])
    assert not recovery.observe(100, {}, {"board": 1, "inventory": 0})
    assert not recovery.observe(200, {}, {"board": 1, "inventory": 5})
    assert recovery.observe(300, {}, {"board": 0, "inventory": 5})
    assert recovery.converged_ms == {"inventory": 100, "board": 300}
