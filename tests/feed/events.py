"""Transaction documents as the sync stage writes them, with the truth about each beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from fleetwire.content import content_hash
from fleetwire.revisions import revision_id

DAY = "2026-11-22"
TIME = "2026-11-22T10:00:00.000Z"


@dataclass(frozen=True)
class Written:
    """A document and its content hash."""

    source: str
    sequence: int
    document: dict[str, Any]
    hash: bytes

    @property
    def json(self) -> bytes:
        """The document as bytes."""
        return msgspec.json.encode(self.document)


def event(source: str, sequence: int, event_type: str, data: dict[str, Any], day: str = DAY) -> Written:
    """Any event as a document with its deterministic first revision."""
    body = {
        "channels": ["transaction"],
        "type": event_type,
        "source": source,
        "sequence": sequence,
        "time": TIME,
        "business_day_date": day,
        "data": data,
    }
    document = {"_id": f"{source}.{sequence}", "_rev": revision_id(1, "", body), **body}
    return Written(source, sequence, document, content_hash(event_type, TIME, day, data))


def sale(source: str, sequence: int, cents: int = 1_080, *, day: str = DAY, training: bool = False) -> Written:
    """A sale paid in cash."""
    return event(source, sequence, "transaction.retail", retail("SALE", cents, training=training), day)


def returned(source: str, sequence: int, cents: int, original_key: str) -> Written:
    """A return of a sale, paid back in cash; ``cents`` is positive."""
    return event(source, sequence, "transaction.retail", retail("RETURN", -cents, original_key=original_key))


def void(source: str, sequence: int, cents: int, voided_key: str) -> Written:
    """A post-void; ``cents`` is positive."""
    data = {
        "voided_key": voided_key,
        "operator_id": "op-1",
        "manager_id": "mgr-1",
        "reason_code": "MISTAKE",
        "grand_cents": -cents,
    }
    return event(source, sequence, "transaction.void", data)


def control(source: str, sequence: int, control_type: str, operator_id: str = "op-1") -> Written:
    """Operator or day control."""
    data = {"control_type": control_type, "operator_id": operator_id, "till_id": "till-1", "reason_code": ""}
    return event(source, sequence, "transaction.control", data)


def till(source: str, sequence: int, control_type: str, cents: int) -> Written:
    """Money into or out of the drawer."""
    data = {
        "control_type": control_type,
        "operator_id": "op-1",
        "till_id": "till-1",
        "tender_type": "CASH",
        "amount_cents": cents,
        "expected_cents": cents,
        "counted_cents": cents,
    }
    return event(source, sequence, "transaction.tender_control", data)


def retail(kind: str, cents: int, *, training: bool = False, original_key: str = "") -> dict[str, Any]:
    """Data of a receipt with one line, one tender, and no tax."""
    sign = 1 if cents >= 0 else -1
    line = {
        "line": 1,
        "item_id": "taco-01",
        "gtin": "01234567890128",
        "description": "Crunchy taco",
        "quantity": sign,
        "unit_price_cents": abs(cents),
        "discount_cents": 0,
        "extended_cents": cents,
        "tax_cents": 0,
    }
    tender = {
        "tender_type": "CASH",
        "amount_cents": cents,
        "entry_mode": "NONE",
        "masked_pan": "",
        "authorization_code": "",
    }
    return {
        "transaction_type": kind,
        "receipt_number": "r01-00000001",
        "operator_id": "op-1",
        "till_id": "till-1",
        "service_mode": "COUNTER",
        "begin_time": TIME,
        "end_time": TIME,
        "training_mode": training,
        "line_items": [line],
        "tenders": [tender],
        "net_cents": cents,
        "tax_cents": 0,
        "grand_cents": cents,
        "original_key": original_key,
    }
