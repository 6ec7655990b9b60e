"""What a well-formed event must also fulfil: sums, links, dates. One row an event type in :data:`CHECKS`.

The shapes and ranges are those of ``fleetwire.events``; this module looks at what no single field can say. Every check
raises BadPayload: ``totals`` for money that does not add up, ``schema`` for everything else.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any, Final

from fleetwire.errors import BadPayload
from fleetwire.events import RetailTransaction, VoidTransaction
from fleetwire.identity import Key

MAXIMUM_DAYS_APART: Final = 2
"""Between the business day's date and the UTC date of the event: offsets reach 14 hours, days outlast midnight."""


def check_dates(time: str, business_day_date: str) -> None:
    """The business day must be near the event's own time."""
    if time[:10] == business_day_date:
        return
    apart = date.fromisoformat(time[:10]) - date.fromisoformat(business_day_date)
    if abs(apart.days) > MAXIMUM_DAYS_APART:
        raise BadPayload("schema", f"business_day_date {business_day_date} is far from the event's time {time}")


def check_retail(data: RetailTransaction, key: Key) -> None:
    """Lines, taxes, tenders and totals add up; a return names the sale that it takes back, a sale none."""
    net_cents = tax_cents = 0
    for line in data.line_items:
        if line.quantity * line.unit_price_cents - line.discount_cents != line.extended_cents:
            raise BadPayload("totals", f"line {line.line}: quantity, price and discount do not give extended_cents")
        net_cents += line.extended_cents
        tax_cents += line.tax_cents
    _check_sum("net_cents", net_cents, data.net_cents)
    _check_sum("tax_cents", tax_cents, data.tax_cents)
    _check_sum("grand_cents", net_cents + tax_cents, data.grand_cents)
    _check_sum("tenders", sum(tender.amount_cents for tender in data.tenders), data.grand_cents)
    if data.begin_time > data.end_time:
        raise BadPayload("schema", f"end_time {data.end_time} lies before begin_time {data.begin_time}")
    if data.transaction_type == "RETURN":
        _check_link("original_key", data.original_key, key)
    elif data.original_key:
        raise BadPayload("schema", f"original_key: expected none in a SALE, found {data.original_key!r:.80}")


def check_void(data: VoidTransaction, key: Key) -> None:
    """A void takes back an earlier event of its own terminal."""
    _check_link("voided_key", data.voided_key, key)
    if Key.parse(data.voided_key).source != key.source:
        raise BadPayload("schema", f"voided_key {data.voided_key} is not of terminal {key.source}")


CHECKS: Final[dict[str, Callable[[Any, Key], None]]] = {
    "transaction.retail": check_retail,
    "transaction.void": check_void,
}
"""Event type -> its check; a type that is not here has no more to fulfil than its shape."""


def _check_sum(name: str, expected_cents: int, stated_cents: int) -> None:
    if expected_cents != stated_cents:
        raise BadPayload("totals", f"{name}: the parts give {expected_cents}, the payload states {stated_cents}")


def _check_link(name: str, text: str, key: Key) -> None:
    try:
        link = Key.parse(text)
    except BadPayload as error:
        raise BadPayload("schema", f"{name}: {error.detail}") from error
    if link.source == key.source and link.sequence >= key.sequence:
        raise BadPayload("schema", f"{name} {text} is not earlier than {key}")
