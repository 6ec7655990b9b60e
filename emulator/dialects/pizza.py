"""Dialect ``pizza``: compact; short keys, bodies and lines as arrays, epoch milliseconds, numbers for enumerations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from emulator.business_day import Draft
from emulator.fleet import TerminalPlan
from fleetwire.events import (
    ControlTransaction,
    RetailTransaction,
    TenderControlTransaction,
    TerminalAlert,
    VoidTransaction,
)
from fleetwire.identity import Key

KINDS: Final = {
    "transaction.retail": 1,
    "transaction.void": 2,
    "transaction.control": 3,
    "transaction.tender_control": 4,
    "terminal.alert": 5,
}
SERVICE_MODES: Final = {"COUNTER": 0, "DRIVE_THROUGH": 1, "KIOSK": 2}
TENDERS: Final = {"CASH": 0, "CREDIT_DEBIT": 1, "GIFT_CARD": 2, "WALLET": 3}
ENTRIES: Final = {"NONE": 0, "CHIP": 1, "CONTACTLESS": 2, "SWIPE": 3, "KEYED": 4}
CONTROLS: Final = {"SIGN_ON": 0, "SIGN_OFF": 1, "NO_SALE": 2, "START_OF_DAY": 3, "END_OF_DAY": 4}
TENDER_CONTROLS: Final = {"LOAN": 0, "PICKUP": 1, "PAID_IN": 2, "PAID_OUT": 3, "SAFE_DROP": 4, "TILL_SETTLE": 5}
COMPONENTS: Final = {"PRINTER": 0, "CASH_DRAWER": 1, "CARD_READER": 2, "BATTERY": 3, "NETWORK": 4}
SEVERITIES: Final = {"INFO": 0, "WARNING": 1, "CRITICAL": 2}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def payload(plan: TerminalPlan, sequence: int, draft: Draft) -> dict[str, Any]:
    """The payload before JSON."""
    return {
        "k": KINDS[draft.type],
        "s": plan.terminal.store,
        "t": plan.terminal.terminal,
        "n": sequence,
        "w": _epoch_ms(draft.time),
        "d": int(draft.business_day_date.replace("-", "")),
        "b": _body(draft.data),
    }


def _body(data: object) -> list[Any] | dict[str, Any]:
    match data:
        case RetailTransaction():
            return _retail(data)
        case VoidTransaction():
            voided = Key.parse(data.voided_key).sequence
            return [voided, data.operator_id, data.manager_id, data.reason_code, data.grand_cents]
        case ControlTransaction():
            return [CONTROLS[data.control_type], data.operator_id, data.till_id, data.reason_code]
        case TenderControlTransaction():
            money = [data.amount_cents, data.expected_cents, data.counted_cents]
            control, tender = TENDER_CONTROLS[data.control_type], TENDERS[data.tender_type]
            return [control, data.operator_id, data.till_id, tender, money]
        case TerminalAlert():
            return [COMPONENTS[data.component], data.from_state, data.to_state, SEVERITIES[data.severity]]
    raise TypeError(f"no event body: {type(data).__name__}")


def _retail(data: RetailTransaction) -> dict[str, Any]:
    return {
        "y": 0 if data.transaction_type == "SALE" else 1,
        "r": data.receipt_number,
        "o": data.operator_id,
        "t": data.till_id,
        "m": SERVICE_MODES[data.service_mode],
        "w": [_epoch_ms(data.begin_time), _epoch_ms(data.end_time)],
        "x": int(data.training_mode),
        "l": [
            [
                line.line,
                line.item_id,
                line.gtin,
                line.description,
                line.quantity,
                line.unit_price_cents,
                line.discount_cents,
                line.extended_cents,
                line.tax_cents,
            ]
            for line in data.line_items
        ],
        "p": [
            [
                TENDERS[tender.tender_type],
                tender.amount_cents,
                ENTRIES[tender.entry_mode],
                tender.masked_pan,
                tender.authorization_code,
            ]
            for tender in data.tenders
        ],
        "a": [data.net_cents, data.tax_cents, data.grand_cents],
        "f": Key.parse(data.original_key).sequence if data.original_key else 0,
    }


def _epoch_ms(utc: str) -> int:
    return (datetime.fromisoformat(utc) - _EPOCH) // _MILLISECOND
