"""What no single field can say: sums, links to earlier events, and dates, each refused with a detail that names it."""

from __future__ import annotations

import msgspec
import pytest

from emulator.business_day import Business, Till
from emulator.fleet import Fleet
from fleetwire.errors import BadPayload
from fleetwire.events import RetailTransaction, Tender, VoidTransaction
from fleetwire.identity import Key
from parm_stub.validator import check_dates, check_retail, check_void

PLAN = Fleet.from_options(stores=1).terminals()[0]
KEY = Key(PLAN.id, 100)
VOID = VoidTransaction(f"{PLAN.id}.99", "op-1", "mgr-1", "WRONG_ITEM", -500)


def receipt(kind: str) -> RetailTransaction:
    """The first sale or return of a till."""
    till = Till(PLAN, Business(Fleet.from_options(stores=1)))
    made = (till.next_event().data for _ in range(500))
    return next(data for data in made if isinstance(data, RetailTransaction) and data.transaction_type == kind)


SALE, RETURN = receipt("SALE"), receipt("RETURN")
WRONG_RECEIPTS = {
    "tenders": (SALE, {"tenders": [*SALE.tenders, Tender("CASH", 1, "NONE", "", "")]}, "totals", "tenders"),
    "net": (SALE, {"net_cents": 1}, "totals", "net_cents"),
    "tax": (SALE, {"tax_cents": 1}, "totals", "tax_cents"),
    "grand": (SALE, {"grand_cents": 1}, "totals", "grand_cents"),
    "a sale with a link": (SALE, {"original_key": f"{PLAN.id}.3"}, "schema", "expected none in a SALE"),
    "a return of nothing": (RETURN, {"original_key": ""}, "schema", "original_key: .* sequence number"),
    "a return of itself": (RETURN, {"original_key": f"{PLAN.id}.100"}, "schema", "is not earlier"),
    "a return of the future": (RETURN, {"original_key": f"{PLAN.id}.101"}, "schema", "is not earlier"),
    "an end before its begin": (SALE, {"end_time": "2020-01-01T00:00:00.000Z"}, "schema", "lies before"),
}


def test_sound_events_pass() -> None:
    """A sale, a return, a void and a date near midnight are accepted."""
    late_return = msgspec.structs.replace(RETURN, original_key=f"{PLAN.id}.99")
    check_retail(SALE, KEY)
    check_retail(late_return, KEY)
    check_retail(msgspec.structs.replace(RETURN, original_key="taco.west.s0009.r01.500"), KEY)
    check_void(VOID, KEY)
    check_dates("2026-01-06T04:00:00.000Z", "2026-01-05")


@pytest.mark.parametrize(("receipt", "changes", "reason", "detail"), WRONG_RECEIPTS.values(), ids=WRONG_RECEIPTS.keys())
def test_wrong_receipts(receipt: RetailTransaction, changes: dict[str, object], reason: str, detail: str) -> None:
    """One contradiction inside a receipt is refused, for its reason, by name."""
    with pytest.raises(BadPayload, match=detail) as caught:
        check_retail(msgspec.structs.replace(receipt, **changes), KEY)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("voided", "detail"),
    [
        (f"{PLAN.id}.100", "is not earlier"),
        ("taco.west.s0009.r01.3", "is not of terminal"),
        ("nonsense", "voided_key: "),
        ("", "voided_key: "),
    ],
)
def test_wrong_voids(voided: str, detail: str) -> None:
    """A void must name an earlier event of its own terminal."""
    with pytest.raises(BadPayload, match=detail) as caught:
        check_void(msgspec.structs.replace(VOID, voided_key=voided), KEY)
    assert caught.value.reason == "schema"


def test_a_business_day_far_from_the_time() -> None:
    """Three days between the business day and the event are refused, in both directions."""
    for day in ("2026-01-02", "2026-01-08"):
        with pytest.raises(BadPayload, match="far from"):
            check_dates("2026-01-05T10:00:00.000Z", day)
