"""The canonical events: what every stage behind PARM, the ledger and the checker mean by an event.

Names follow ARTS POSLog 6 (snake_case); money is integer minor units (``_cents``), times are RFC 3339 UTC with
milliseconds, ``business_day_date`` is the store's own local date. No float, no card number, no cardholder name.
A canonical event on the wire and in the gateway is the JSON of :class:`CanonicalEvent`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

Cents = Annotated[int, Meta(ge=-1_000_000_000, le=1_000_000_000)]
ShortText = Annotated[str, Meta(max_length=200)]
Code = Annotated[str, Meta(min_length=1, max_length=64)]
UtcTime = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$")]
LocalDate = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")]
KeyText = Annotated[str, Meta(max_length=160)]

TenderType = Literal["CASH", "CREDIT_DEBIT", "GIFT_CARD", "WALLET"]
EntryMode = Literal["NONE", "CHIP", "CONTACTLESS", "SWIPE", "KEYED"]


class LineItem(Struct, frozen=True, forbid_unknown_fields=True):
    """One line of a receipt; ``extended_cents = quantity * unit_price_cents - discount_cents``."""

    line: Annotated[int, Meta(ge=1, le=500)]
    item_id: Code
    gtin: Annotated[str, Meta(pattern=r"^\d{8,14}$")]
    description: ShortText
    quantity: Annotated[int, Meta(ge=-1000, le=1000)]
    unit_price_cents: Cents
    discount_cents: Cents
    extended_cents: Cents
    tax_cents: Cents


class Tender(Struct, frozen=True, forbid_unknown_fields=True):
    """One means of payment; change is a negative CASH tender, so that tenders add up to the grand total."""

    tender_type: TenderType
    amount_cents: Cents
    entry_mode: EntryMode
    masked_pan: ShortText
    authorization_code: ShortText


class RetailTransaction(Struct, frozen=True, forbid_unknown_fields=True):
    """A sale or a return (POSLog RetailTransaction); net = sum of lines, grand = net + tax = sum of tenders."""

    transaction_type: Literal["SALE", "RETURN"]
    receipt_number: Code
    operator_id: Code
    till_id: Code
    service_mode: Literal["COUNTER", "DRIVE_THROUGH", "KIOSK"]
    begin_time: UtcTime
    end_time: UtcTime
    training_mode: bool
    line_items: Annotated[list[LineItem], Meta(min_length=1, max_length=500)]
    tenders: Annotated[list[Tender], Meta(min_length=1, max_length=20)]
    net_cents: Cents
    tax_cents: Cents
    grand_cents: Cents
    original_key: KeyText
    """Key of the sale that a RETURN takes back; empty for a SALE."""


class VoidTransaction(Struct, frozen=True, forbid_unknown_fields=True):
    """A post-void: takes back a whole earlier transaction of the same terminal (POSLog VoidTransaction)."""

    voided_key: KeyText
    operator_id: Code
    manager_id: Code
    reason_code: Code
    grand_cents: Cents
    """What the void takes back, as a negative amount."""


class ControlTransaction(Struct, frozen=True, forbid_unknown_fields=True):
    """Operator and day control (POSLog ControlTransaction)."""

    control_type: Literal["SIGN_ON", "SIGN_OFF", "NO_SALE", "START_OF_DAY", "END_OF_DAY"]
    operator_id: Code
    till_id: Code
    reason_code: ShortText


class TenderControlTransaction(Struct, frozen=True, forbid_unknown_fields=True):
    """Money in the till (POSLog TenderControlTransaction)."""

    control_type: Literal["LOAN", "PICKUP", "PAID_IN", "PAID_OUT", "SAFE_DROP", "TILL_SETTLE"]
    operator_id: Code
    till_id: Code
    tender_type: TenderType
    amount_cents: Cents
    expected_cents: Cents
    counted_cents: Cents


class TerminalAlert(Struct, frozen=True, forbid_unknown_fields=True):
    """A peripheral changed its state (UnifiedPOS device states)."""

    component: Literal["PRINTER", "CASH_DRAWER", "CARD_READER", "BATTERY", "NETWORK"]
    from_state: Code
    to_state: Code
    severity: Literal["INFO", "WARNING", "CRITICAL"]


EVENT_TYPES: dict[str, type[Struct]] = {
    "transaction.retail": RetailTransaction,
    "transaction.void": VoidTransaction,
    "transaction.control": ControlTransaction,
    "transaction.tender_control": TenderControlTransaction,
    "terminal.alert": TerminalAlert,
}
"""Event type -> shape of its data: the whole vocabulary of numbered, durable events."""


class CanonicalEvent(Struct, frozen=True, kw_only=True):
    """An event as PARM hands it on; ``data`` has the shape that EVENT_TYPES gives for ``type``.

    ``data`` stays raw JSON on the way: stages that do not look into it do not pay for it.
    """

    key: KeyText
    type: Code
    source: KeyText
    sequence: Annotated[int, Meta(ge=1)]
    time: UtcTime
    business_day_date: LocalDate
    data: Raw


class TerminalState(Struct, frozen=True, kw_only=True):
    """The retained register of one terminal: birth, graceful end or will (Sparkplug 3.0, section 6.4, with the boot).

    Ordered by ``(boot, bd_seq)``: ``boot`` counts starts of the terminal and is persisted, ``bd_seq`` counts its
    connections; a death with a smaller pair than the newest birth is a ghost and is ignored.
    """

    online: bool
    reason: Literal["birth", "lost", "planned_close"]
    boot: Annotated[int, Meta(ge=1)]
    bd_seq: Annotated[int, Meta(ge=0)]
    kind: Literal["register", "drive_through", "kiosk", "kitchen_display"] = "register"
    serial_number: ShortText = ""
    model: ShortText = ""
    app_version: ShortText = ""
    os_version: ShortText = ""
    time: str | UnsetType = UNSET
    """When a birth or graceful end was said; a will is written before it happens, so it has none."""


class Heartbeat(Struct, frozen=True, kw_only=True):
    """How a terminal feels; QoS 0, each one replaces the one before (fields as in common vendor device APIs)."""

    boot: Annotated[int, Meta(ge=1)]
    bd_seq: Annotated[int, Meta(ge=0)]
    time: UtcTime
    uptime_s: int
    status_category: Literal["AVAILABLE", "NEEDS_ATTENTION", "OFFLINE"]
    network_type: Literal["ETHERNET", "WIFI", "CELLULAR"]
    network_signal_percent: int
    battery_percent: int
    external_power: bool
    printer: Literal["OK", "PAPER_LOW", "PAPER_OUT", "COVER_OPEN", "OFFLINE"]
    cash_drawer: Literal["OPEN", "CLOSED"]
    card_reader: Literal["READY", "UPDATING", "TAMPERED", "OFFLINE"]
    offline_queue_depth: int
    offline_queue_oldest_age_s: int
    clock_offset_ms: int
    last_sequence: int
    cpu_percent: int
    memory_percent: int


class StoreStatus(Struct, frozen=True, kw_only=True):
    """What PARM derives from a store's terminals; a retained register ordered by ``revision``."""

    brand: str
    region: str
    store: str
    status: Literal["OPEN", "DEGRADED", "OFFLINE", "PLANNED_CLOSED"]
    flapping: bool
    terminals_online: int
    terminals_total: int
    revision: int
    time: UtcTime
