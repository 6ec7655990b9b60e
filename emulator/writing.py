"""From a till's next event to what is committed and sent: raw payload, content hash, faulty input on demand.

Everything here is a pure function of (fleet, terminal, sequence): the same seed gives the same rows and bytes. The
ledger keeps a malformed event as what it should have been, with the reason for which it must be rejected.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec
from msgspec import Struct

from emulator.business_day import Draft, Till
from emulator.dialects import encode
from emulator.fleet import Fleet, TerminalPlan
from emulator.ledger import StoredEvent, WrittenEvent
from emulator.malformed import MALFORMED, Case, Message
from emulator.misbehaviour import conflicting, misbehaviour_of
from fleetwire.content import content_hash
from fleetwire.effects import effect_hash, effect_of, till_entry
from fleetwire.envelope import Envelope
from fleetwire.events import RetailTransaction, VoidTransaction
from fleetwire.identity import Key
from fleetwire.topics import Topics

PAYLOAD_LIMIT_BYTES: Final = 65_536
"""Largest payload that PARM accepts; an oversized event on demand lies beyond it."""


class EventWriter:
    """Writes the events of all terminals of a fleet."""

    def __init__(self, topics: Topics, fleet: Fleet) -> None:
        self._topics = topics
        self._fleet = fleet

    def write(self, till: Till) -> WrittenEvent:
        """Move the till to its next event and write that."""
        draft = till.next_event()
        plan, sequence = till.plan, till.sequence
        payload = encode(plan, sequence, draft)
        topic = self._topics.terminal("transaction", plan.terminal)
        stored = StoredEvent(sequence, topic, draft.type, draft.time, "", payload)
        wrong = misbehaviour_of(self._fleet, plan, sequence, draft.type)
        reason = ""
        if wrong.malformation:
            reason = MALFORMED[wrong.malformation].reason
            stored = _damaged(plan, stored, draft, wrong.malformation)
        effect = effect_of(draft.business_day_date, draft.data)
        return WrittenEvent(
            stored=stored,
            content_hash=content_hash(draft.type, draft.time, draft.business_day_date, draft.data),
            business_day_date=draft.business_day_date,
            amount_cents=amount_cents(draft.data),
            expected_reason=reason,
            conflict=encode(plan, sequence, conflicting(draft)) if wrong.again == "conflict" else b"",
            sales_count=0 if effect.receipt is not None and effect.receipt.training else 1,
            effect_hash=effect_hash(effect),
            till_entry=till_entry(effect),
        )

    def again(self, plan: TerminalPlan, sequence: int, event_type: str) -> Literal["", "repeat", "conflict"]:
        """What is sent under this event's key beyond the event itself."""
        return misbehaviour_of(self._fleet, plan, sequence, event_type).again


def amount_cents(data: Struct) -> int:
    """The part of the store's sales total: with its sign, 0 for what is no sale and for training."""
    if isinstance(data, RetailTransaction):
        return 0 if data.training_mode else data.grand_cents
    return data.grand_cents if isinstance(data, VoidTransaction) else 0


def _damaged(plan: TerminalPlan, stored: StoredEvent, draft: Draft, kind: str) -> StoredEvent:
    properties = Envelope(Key(plan.id, stored.sequence), stored.type, stored.time).properties()
    sound = Message(stored.topic, properties, stored.payload)
    damaged = MALFORMED[kind].damage(Case(plan, stored.sequence, draft, sound, PAYLOAD_LIMIT_BYTES))
    replaced = "" if damaged.properties == properties else msgspec.json.encode(damaged.properties).decode()
    return stored._replace(topic=damaged.topic, payload=damaged.payload, properties=replaced)
