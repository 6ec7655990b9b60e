"""Dialect ``burger``: like POSLog, PascalCase, money as integer cents, UTC; one element name for each transaction."""

from __future__ import annotations

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
from fleetwire.identity import Key

CONTROLS: Final = {
    "SIGN_ON": "OperatorSignOn",
    "SIGN_OFF": "OperatorSignOff",
    "NO_SALE": "NoSale",
    "START_OF_DAY": "StartDay",
    "END_OF_DAY": "EndDay",
}
TENDER_CONTROLS: Final = {
    "LOAN": "TenderLoan",
    "PICKUP": "TenderPickup",
    "PAID_IN": "PaidIn",
    "PAID_OUT": "PaidOut",
    "SAFE_DROP": "SafeDrop",
    "TILL_SETTLE": "TillSettle",
}
CHANNELS: Final = {"COUNTER": "Counter", "DRIVE_THROUGH": "DriveThrough", "KIOSK": "Kiosk"}
TENDERS: Final = {"CASH": "Cash", "CREDIT_DEBIT": "CreditDebit", "GIFT_CARD": "GiftCard", "WALLET": "Wallet"}
ENTRIES: Final = {"NONE": "None", "CHIP": "Chip", "CONTACTLESS": "Contactless", "SWIPE": "Swipe", "KEYED": "Keyed"}


def payload(plan: TerminalPlan, sequence: int, draft: Draft) -> dict[str, Any]:
    """The payload before JSON."""
    name, body = _body(draft.data)
    return {
        "TransactionTypeCode": name,
        "RetailStoreID": plan.terminal.store,
        "WorkstationID": plan.terminal.terminal,
        "SequenceNumber": sequence,
        "BusinessDayDate": draft.business_day_date,
        "PostedDateTime": draft.time,
        "CurrencyCode": plan.brand.currency,
        name: body,
    }


def _body(data: object) -> tuple[str, dict[str, Any]]:
    match data:
        case RetailTransaction():
            return "RetailTransaction", _retail(data)
        case VoidTransaction():
            return "VoidTransaction", {
                "VoidedSequenceNumber": Key.parse(data.voided_key).sequence,
                "OperatorID": data.operator_id,
                "ManagerApproval": {"ApproverID": data.manager_id},
                "ReasonCode": data.reason_code,
                "Amount": data.grand_cents,
            }
        case ControlTransaction():
            return "ControlTransaction", {
                "ControlTypeCode": CONTROLS[data.control_type],
                "OperatorID": data.operator_id,
                "TillID": data.till_id,
                "ReasonCode": data.reason_code,
            }
        case TenderControlTransaction():
            return "TenderControlTransaction", {
                "ControlTypeCode": TENDER_CONTROLS[data.control_type],
                "OperatorID": data.operator_id,
                "TillID": data.till_id,
                "Tender": {"TenderType": TENDERS[data.tender_type], "Amount": data.amount_cents},
                "ExpectedAmount": data.expected_cents,
                "CountedAmount": data.counted_cents,
            }
        case TerminalAlert():
            return "WorkstationAlert", {
                "Device": data.component,
                "FromState": data.from_state,
                "ToState": data.to_state,
                "Severity": data.severity.title(),
            }
    raise TypeError(f"no event body: {type(data).__name__}")


def _retail(data: RetailTransaction) -> dict[str, Any]:
    retail: dict[str, Any] = {
        "ItemType": "Sale" if data.transaction_type == "SALE" else "Return",
        "ReceiptNumber": data.receipt_number,
        "OperatorID": data.operator_id,
        "TillID": data.till_id,
        "ChannelTypeCode": CHANNELS[data.service_mode],
        "BeginDateTime": data.begin_time,
        "EndDateTime": data.end_time,
        "TrainingModeFlag": data.training_mode,
        "LineItem": [_line(line) for line in data.line_items],
        "Tender": [_tender(tender) for tender in data.tenders],
        "Total": {
            "TransactionNetAmount": data.net_cents,
            "TransactionTaxAmount": data.tax_cents,
            "TransactionGrandAmount": data.grand_cents,
        },
    }
    if data.original_key:
        retail["TransactionLink"] = {"SequenceNumber": Key.parse(data.original_key).sequence}
    return retail


def _line(line: LineItem) -> dict[str, Any]:
    return {
        "SequenceNumber": line.line,
        "ItemID": line.item_id,
        "POSIdentity": {"POSIDType": "GTIN", "POSItemID": line.gtin},
        "Description": line.description,
        "Quantity": line.quantity,
        "RegularSalesUnitPrice": line.unit_price_cents,
        "ExtendedDiscountAmount": line.discount_cents,
        "ExtendedAmount": line.extended_cents,
        "TaxAmount": line.tax_cents,
    }


def _tender(tender: Tender) -> dict[str, Any]:
    return {
        "TenderType": TENDERS[tender.tender_type],
        "Amount": tender.amount_cents,
        "EntryMethod": ENTRIES[tender.entry_mode],
        "CardNumberMasked": tender.masked_pan,
        "AuthorizationCode": tender.authorization_code,
    }
