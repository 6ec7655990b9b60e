"""PARM's work on events: each raw message becomes one canonical message or one dead letter, and is acknowledged then.

Acknowledged means: the broker answered our own publish with acceptance. The broker gets the acknowledgements in the
order of arrival. A message that no transformation foresaw is a dead letter ``stage_error``; one on which the process
died three times is a dead letter ``crash``, and is not looked into again.
"""

from __future__ import annotations

import functools
import logging
import traceback
from collections.abc import Callable
from typing import Final

from fleetwire.answering import OutcomeAnswerer
from fleetwire.attempt_record import DEATHS_ALLOWED, AttemptRecord, message_name
from fleetwire.dead_letters import DeadLetter, DeadLetterOffice
from fleetwire.delivery import Delivery, Parcel
from fleetwire.envelope import JSON, Envelope, Properties
from fleetwire.errors import BadPayload
from fleetwire.events import CanonicalEvent
from fleetwire.identity import Key, Terminal
from fleetwire.in_hand import Identity, InHand
from fleetwire.message_key import attempt_of, key_of
from fleetwire.mqtt import Message
from fleetwire.topics import Topics
from fleetwire.witness import Witness
from parm_stub.applied import Applied
from parm_stub.transform import canonical_json

Transform = Callable[[str, Properties, bytes, str | None], CanonicalEvent]
"""Topic, user properties, payload and content type of a raw message to its event; raises BadPayload."""

STAGE: Final = "parm"
Posted = Callable[[], None]

_log = logging.getLogger(__name__)


class Transactions:
    """Give ``receive`` to the session as a handler; ``answerer`` tells ``applied`` when PARM is the last stage present."""

    def __init__(
        self,
        topics: Topics,
        transform: Transform,
        *,
        witness: Witness,
        in_hand: InHand,
        delivery: Delivery,
        dead_letters: DeadLetterOffice,
        attempts: AttemptRecord,
        answerer: OutcomeAnswerer | None,
        applied: Applied,
    ) -> None:
        self._topics = topics
        self._transform = transform
        self._witness = witness
        self._in_hand = in_hand
        self._delivery = delivery
        self._dead_letters = dead_letters
        self._attempts = attempts
        self._answerer = answerer
        self._applied = applied

    def receive(self, message: Message) -> None:
        """Work on one message; it is acknowledged later."""
        identity = self._in_hand.begin(message)
        if identity is None:
            self._witness.duplicates_absorbed += 1
        elif message.duplicate:
            self._work_carefully(identity, message)
        else:
            self._work(identity, message)

    def _work_carefully(self, identity: Identity, message: Message) -> None:
        name = message_name(message.topic, message.properties, message.payload)
        if self._attempts.begin(name):
            self._work(identity, message)
            self._attempts.end(name)
            return
        # What it did is forgotten only with its letter at the broker: another one in this read may kill us before.
        self._attempts.leave(name)
        detail = f"PARM died {DEATHS_ALLOWED} times while it worked on this message"
        self._bury_unread(identity, message, "crash", detail, functools.partial(self._attempts.end, name))

    def _work(self, identity: Identity, message: Message) -> None:
        try:
            event = self._transform(message.topic, message.properties, message.payload, message.content_type)
            self._hand_on(identity, message, event)
        except BadPayload as error:
            self._bury_unread(identity, message, error.reason, error.detail)
        except Exception as error:  # noqa: BLE001 - what nobody foresaw becomes a dead letter, not a dead stage
            _log.warning("an event on %s raised %s", message.topic, type(error).__name__, exc_info=error)
            detail = traceback.format_exception_only(error)[-1].strip()
            self._bury_unread(identity, message, "stage_error", detail)

    def _hand_on(self, identity: Identity, message: Message, event: CanonicalEvent) -> None:
        key = Key(event.source, event.sequence)
        envelope = Envelope(key, event.type, event.time, attempt_of(message))
        payload = canonical_json(event)
        self._witness.take(event.source, event.sequence, envelope.attempt)
        self._delivery.send(
            Parcel(
                topic=self._topics.canonical("transaction", Terminal(*event.source.split("."))),
                payload=payload,
                properties=envelope.properties(),
                content_type=JSON,
                nobody_may_listen=self._answerer is not None,
                done=functools.partial(self._handed_on, identity, key),
                too_large=functools.partial(self._too_large, identity, message, len(payload)),
            )
        )

    def _handed_on(self, identity: Identity, key: Key) -> None:
        self._witness.hand_on(key.source, key.sequence, "canonical")
        self._in_hand.done(identity)
        if self._answerer is not None:
            self._applied.add(key.source, key.sequence)
            self._answerer.applied_now(key.source)

    def _too_large(self, identity: Identity, message: Message, size: int) -> None:
        detail = f"its canonical form of {size} bytes is larger than the broker takes"
        self._bury(identity, message, "oversized", detail)

    def _bury_unread(
        self, identity: Identity, message: Message, reason: str, detail: str, posted: Posted | None = None
    ) -> None:
        key = key_of(message)
        if key is not None:
            self._witness.take(*key, attempt_of(message))
        self._bury(identity, message, reason, detail, posted)

    def _bury(
        self, identity: Identity, message: Message, reason: str, detail: str, posted: Posted | None = None
    ) -> None:
        letter = DeadLetter(
            reason=reason, detail=detail, topic=message.topic, payload=message.payload, key=key_of(message)
        )
        self._dead_letters.post(letter, functools.partial(self._buried, identity, posted))

    def _buried(self, identity: Identity, posted: Posted | None) -> None:
        self._in_hand.done(identity)
        if posted is not None:
            posted()
