"""Bad input on purpose: one row a kind in :data:`MALFORMED`, with the reason under which PARM must reject it.

A damaged message keeps its number: last topic level and user properties still give the key, so the ledger can hold it
for what it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from emulator.business_day import Draft
from emulator.dialects import encode
from emulator.fleet import TerminalPlan
from fleetwire import bounded_json
from fleetwire.events import RetailTransaction


class Message(NamedTuple):
    """One message as it goes to the broker."""

    topic: str
    properties: list[tuple[str, str]]
    payload: bytes


class Case(NamedTuple):
    """A sound message and where it comes from; ``limit_bytes`` is the largest payload that PARM accepts."""

    plan: TerminalPlan
    sequence: int
    draft: Draft
    message: Message
    limit_bytes: int


class Malformation(NamedTuple):
    """How to damage a message, what PARM must say, and which event types can be damaged so (none named: all)."""

    damage: Callable[[Case], Message]
    reason: str
    only: frozenset[str] = frozenset()


def applicable(event_type: str) -> list[str]:
    """The kinds that can damage an event of this type, in the table's order."""
    return [kind for kind, row in MALFORMED.items() if not row.only or event_type in row.only]


def _truncated(case: Case) -> Message:
    return case.message._replace(payload=case.message.payload[:-1])


def _wrong_type(case: Case) -> Message:
    document = bounded_json.decode(case.message.payload)
    return case.message._replace(payload=msgspec.json.encode(document | {list(document)[-1]: "not a body"}))


def _missing_field(case: Case) -> Message:
    document = bounded_json.decode(case.message.payload)
    document.popitem()
    return case.message._replace(payload=msgspec.json.encode(document))


def _unknown_brand(case: Case) -> Message:
    """The brand's level of the topic alone: the last level stays, and with it the key."""
    head, _brand, region, store, source = case.message.topic.rsplit("/", 4)
    return case.message._replace(topic="/".join((head, "nobodys-brand", region, store, source)))


def _unknown_type(case: Case) -> Message:
    properties = [
        (name, "storefleet.transaction.unheard-of.v1" if name == "type" else value)
        for name, value in case.message.properties
    ]
    return case.message._replace(properties=properties)


def _wrong_totals(case: Case) -> Message:
    data = case.draft.data
    if not isinstance(data, RetailTransaction):
        raise TypeError(f"{case.draft.type} has no totals to damage")
    wrong = case.draft._replace(data=msgspec.structs.replace(data, grand_cents=data.grand_cents + 1))
    return case.message._replace(payload=encode(case.plan, case.sequence, wrong))


def _oversized(case: Case) -> Message:
    document = bounded_json.decode(case.message.payload)
    document["padding"] = "x" * case.limit_bytes
    return case.message._replace(payload=msgspec.json.encode(document))


def _contradicted_topic(case: Case) -> Message:
    elsewhere = case.plan.terminal._replace(store=f"{case.plan.terminal.store}-copy"[-32:].lstrip("-"))
    plan = msgspec.structs.replace(case.plan, terminal=elsewhere)
    return case.message._replace(payload=encode(plan, case.sequence, case.draft))


def _not_utf8(case: Case) -> Message:
    return case.message._replace(payload=case.message.payload.replace(b'"', b'"\xff', 1))


MALFORMED: Final[dict[str, Malformation]] = {
    "truncated": Malformation(_truncated, "malformed_json"),
    "wrong_type": Malformation(_wrong_type, "schema"),
    "missing_field": Malformation(_missing_field, "schema"),
    "unknown_brand": Malformation(_unknown_brand, "unknown_brand"),
    "unknown_type": Malformation(_unknown_type, "unknown_type"),
    "wrong_totals": Malformation(_wrong_totals, "totals", frozenset({"transaction.retail"})),
    "oversized": Malformation(_oversized, "oversized"),
    "contradicted_topic": Malformation(_contradicted_topic, "topic_mismatch"),
    "not_utf8": Malformation(_not_utf8, "not_utf8"),
}
"""Kind -> how it is done and what must come of it."""
