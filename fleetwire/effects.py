"""What an event does to its till and to its receipts: the one rule that ledger, Poseidon and lab share.

An event leaves at most four facts: a receipt (sale or return), a reference (return or void) to the sale that it takes
back, a control fact (who signed on, the day), and a movement of cash. All of them together are its effect. The effect's
hash, 8 bytes of BLAKE2b over the JSON array ``[receipt, reference, control, movement]`` (each an array in the order of
the fields below, or null), stands in the ledger; whoever serves these facts can be asked whether they still are what
they must be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct

from fleetwire.content import HASH_BYTES
from fleetwire.events import ControlTransaction, RetailTransaction, TenderControlTransaction, VoidTransaction

SETTLEMENT: Final = "TILL_SETTLE"
SIGN_ON: Final = "SIGN_ON"
SIGN_OFF: Final = "SIGN_OFF"
RETURN: Final = "RETURN"
VOID: Final = "VOID"
_DIRECTION: Final = {"LOAN": 1, "PAID_IN": 1, "PICKUP": -1, "PAID_OUT": -1, "SAFE_DROP": -1, SETTLEMENT: 0}

_encode = msgspec.json.Encoder().encode


class Receipt(NamedTuple):
    """A sale or a return. ``training`` is 0 or 1; in training nothing goes into the drawer and nothing is counted."""

    transaction_type: str
    business_day_date: str
    receipt_number: str
    end_time: str
    training: int
    net_cents: int
    tax_cents: int
    grand_cents: int
    cash_cents: int
    """What went into the drawer, with its sign."""
    sales_count: int
    sales_cents: int


class Reference(NamedTuple):
    """RETURN or VOID of the sale ``referred_key``; cents are negative."""

    kind: str
    referred_key: str
    business_day_date: str
    grand_cents: int


class Control(NamedTuple):
    """Operator and day."""

    control_type: str
    operator_id: str
    till_id: str
    business_day_date: str


class Movement(NamedTuple):
    """Cents that go into the drawer; a settlement moves none, it empties the drawer."""

    control_type: str
    cents: int
    counted_cents: int


class Effect(NamedTuple):
    """All that an event leaves."""

    receipt: Receipt | None = None
    reference: Reference | None = None
    control: Control | None = None
    movement: Movement | None = None


class TillEntry(NamedTuple):
    """What the ledger keeps of an effect, so that a till and its orders can be worked out from the ledger alone."""

    action: str = ""
    """SALE, RETURN, VOID, or the control type; empty: the event leaves nothing."""
    refers_to: int = 0
    """Number of the same terminal's sale that a return or void takes back."""
    cash_cents: int = 0
    """What the event itself moves into the drawer. A void moves what its sale moved, back."""
    operator_id: str = ""
    """Who signs on."""


NOTHING: Final = Effect()


def effect_of(business_day_date: str, data: Struct) -> Effect:
    """The effect of an event with this data, in the shape of its type."""
    make = _EFFECT_OF.get(type(data))
    return NOTHING if make is None else make(business_day_date, data)


def effect_hash(effect: Sequence[Sequence[object] | None]) -> bytes:
    """Its hash; an Effect, or the same four rows as they were read from wherever they are served."""
    return blake2b(_encode(effect), digest_size=HASH_BYTES).digest()


def till_entry(effect: Effect) -> TillEntry:
    """What the ledger keeps of it."""
    receipt, reference, control, movement = effect
    if receipt is not None:
        return TillEntry(receipt.transaction_type, _referred(reference), receipt.cash_cents)
    if reference is not None:
        return TillEntry(reference.kind, _referred(reference))
    if control is not None:
        return TillEntry(control.control_type, 0, 0, control.operator_id if control.control_type == SIGN_ON else "")
    return TillEntry() if movement is None else TillEntry(movement.control_type, 0, movement.cents)


def _referred(reference: Reference | None) -> int:
    return 0 if reference is None else int(reference.referred_key.rpartition(".")[2])


def _retail(business_day_date: str, data: RetailTransaction) -> Effect:
    training = data.training_mode
    cash_cents = 0 if training else sum([one.amount_cents for one in data.tenders if one.tender_type == "CASH"])
    sales_cents = 0 if training else data.grand_cents
    receipt = Receipt(
        data.transaction_type,
        business_day_date,
        data.receipt_number,
        data.end_time,
        1 if training else 0,
        data.net_cents,
        data.tax_cents,
        data.grand_cents,
        cash_cents,
        0 if training else 1,
        sales_cents,
    )
    if data.transaction_type == RETURN:
        return Effect(receipt, Reference(RETURN, data.original_key, business_day_date, sales_cents))
    return Effect(receipt)


def _void(business_day_date: str, data: VoidTransaction) -> Effect:
    return Effect(None, Reference(VOID, data.voided_key, business_day_date, data.grand_cents))


def _control(business_day_date: str, data: ControlTransaction) -> Effect:
    return Effect(None, None, Control(data.control_type, data.operator_id, data.till_id, business_day_date))


def _movement(_: str, data: TenderControlTransaction) -> Effect:
    cents = _DIRECTION[data.control_type] * data.amount_cents if data.tender_type == "CASH" else 0
    return Effect(None, None, None, Movement(data.control_type, cents, data.counted_cents))


_EFFECT_OF: Final[dict[type[Struct], Callable[[str, Any], Effect]]] = {
    RetailTransaction: _retail,
    VoidTransaction: _void,
    ControlTransaction: _control,
    TenderControlTransaction: _movement,
}
"""Shape of the data -> what it leaves; what is not here leaves nothing."""
