"""Dialect ``taco``: nested camelCase, money as decimal strings, local time with the store's offset."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from emulator.business_day import Draft
from emulator.fleet import TerminalPlan
from fleetwire.events import (
    ControlTransaction,
    LineItem,
    RetailTransaction,
    Tender,
    TenderControlTransaction,
    TerminalAlert,
    VoidTransaction,
)

KINDS: Final = {
    "transaction.retail": "retailOrder",
    "transaction.void": "orderVoid",
    "transaction.control": "staffAction",
    "transaction.tender_control": "cashMovement",
    "terminal.alert": "deviceAlert",
}
CHANNELS: Final = {"COUNTER": "counter", "DRIVE_THROUGH": "driveThrough", "KIOSK": "kiosk"}
METHODS: Final = {"CASH": "cash", "CREDIT_DEBIT": "card", "GIFT_CARD": "giftCard", "WALLET": "wallet"}
ENTRIES: Final = {
    "NONE": "none",
    "CHIP": "chip",
    "CONTACTLESS": "contactless",
    "SWIPE": "magneticStripe",
    "KEYED": "keyed",
}


def payload(plan: TerminalPlan, sequence: int, draft: Draft) -> dict[str, Any]:
    """The payload before JSON."""
    offset = plan.region.utc_offset
    offset_ms = plan.region.offset_ms
    name, body = _body(draft.data, offset, offset_ms)
    return {
        "eventKind": KINDS[draft.type],
        "location": {"storeNumber": plan.terminal.store, "registerId": plan.terminal.terminal},
        "eventNumber": sequence,
        "occurredAt": _local(draft.time, offset, offset_ms),
        "businessDate": draft.business_day_date,
        name: body,
    }


def _body(data: object, offset: str, offset_ms: int) -> tuple[str, dict[str, Any]]:
    match data:
        case RetailTransaction():
            return "order", _order(data, offset, offset_ms)
        case VoidTransaction():
            return "void", {
                "order": data.voided_key,
                "staff": {"cashier": data.operator_id, "approver": data.manager_id},
                "why": data.reason_code,
                "amount": _money(data.grand_cents),
            }
        case ControlTransaction():
            return "action", {
                "name": data.control_type,
                "cashier": data.operator_id,
                "drawer": data.till_id,
                "why": data.reason_code,
            }
        case TenderControlTransaction():
            return "movement", _movement(data)
        case TerminalAlert():
            return "alert", {
                "device": data.component,
                "change": {"from": data.from_state, "to": data.to_state},
                "level": data.severity.lower(),
            }
    raise TypeError(f"no event body: {type(data).__name__}")


def _order(data: RetailTransaction, offset: str, offset_ms: int) -> dict[str, Any]:
    order: dict[str, Any] = {
        "orderType": "sale" if data.transaction_type == "SALE" else "refund",
        "checkNumber": data.receipt_number,
        "staff": {"cashier": data.operator_id, "drawer": data.till_id},
        "channel": CHANNELS[data.service_mode],
        "openedAt": _local(data.begin_time, offset, offset_ms),
        "closedAt": _local(data.end_time, offset, offset_ms),
        "training": data.training_mode,
        "items": [_item(line) for line in data.line_items],
        "payments": [_payment(tender) for tender in data.tenders],
        "totals": {
            "subtotal": _money(data.net_cents),
            "tax": _money(data.tax_cents),
            "total": _money(data.grand_cents),
        },
    }
    if data.original_key:
        order["refundOf"] = data.original_key
    return order


def _item(line: LineItem) -> dict[str, Any]:
    return {
        "position": line.line,
        "product": {"sku": line.item_id, "barcode": line.gtin, "name": line.description},
        "quantity": line.quantity,
        "price": {
            "each": _money(line.unit_price_cents),
            "discount": _money(line.discount_cents),
            "subtotal": _money(line.extended_cents),
            "tax": _money(line.tax_cents),
        },
    }


def _payment(tender: Tender) -> dict[str, Any]:
    payment: dict[str, Any] = {"method": METHODS[tender.tender_type], "amount": _money(tender.amount_cents)}
    if tender.entry_mode != "NONE" or tender.masked_pan or tender.authorization_code:
        payment["card"] = {
            "entry": ENTRIES[tender.entry_mode],
            "maskedNumber": tender.masked_pan,
            "approvalCode": tender.authorization_code,
        }
    return payment


def _movement(data: TenderControlTransaction) -> dict[str, Any]:
    return {
        "name": data.control_type,
        "cashier": data.operator_id,
        "drawer": data.till_id,
        "method": METHODS[data.tender_type],
        "amount": _money(data.amount_cents),
        "drawerTotals": {"expected": _money(data.expected_cents), "counted": _money(data.counted_cents)},
    }


def _money(cents: int) -> str:
    whole, rest = divmod(abs(cents), 100)
    return f"{'-' if cents < 0 else ''}{whole}.{rest:02d}"


def _local(utc: str, offset: str, offset_ms: int) -> str:
    moment = datetime.fromisoformat(utc[:-1]) + timedelta(milliseconds=offset_ms)
    return moment.isoformat(timespec="milliseconds") + offset
