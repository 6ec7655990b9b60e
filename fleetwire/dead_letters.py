"""Dead letters: where a message goes that a stage cannot use, so that it neither stops the stage nor vanishes.

The original bytes are the payload; why, by whom and from where are user properties. Only when the broker has the letter
is the terminal told (``rejected``, if the message has a usable key), and only then is the message acknowledged.
Registers and asks are outside this accounting: their letters hold up no acknowledgement (``post_aside``).
A letter that the broker refuses for its size goes out with its payload cut to CUT_BYTES, and says so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from fleetwire.delivery import Delivery, Parcel
from fleetwire.errors import BadPayload
from fleetwire.identity import Key, Terminal
from fleetwire.outcomes import Outcome, Rejection, encode
from fleetwire.reasons import REASONS
from fleetwire.topics import Topics
from fleetwire.witness import Witness

DETAIL_CHARACTERS: Final = 500
CUT_BYTES: Final = 4_096
LETTERS_ASIDE: Final = 1_000
"""How many letters that nobody waits for may be on their way to the broker."""
UNKNOWN: Final = "unknown"
JSON: Final = "application/json"
_log = logging.getLogger(__name__)


class DeadLetter(Struct, frozen=True, kw_only=True):
    """What is wrong with a message; ``key`` is None when the message gives none."""

    reason: str
    detail: str
    topic: str
    payload: bytes
    key: Key | None = None
    tell_terminal: bool = True
    """False when the key itself may well be applied, as after a key conflict."""


class DeadLetterOffice:
    """Publishes the dead letters of one stage and tells the terminals; ``unwritten`` counts letters given up."""

    def __init__(self, delivery: Delivery, topics: Topics, stage: str, witness: Witness) -> None:
        self._delivery = delivery
        self._topics = topics
        self._stage = stage
        self._witness = witness
        self._aside = 0
        self.unwritten = 0

    def post_aside(self, letter: DeadLetter) -> None:
        """Publish a letter that nobody waits for, such as one about a register or an ask, acknowledged at once.

        Those often come over the session that has to read the letter's own PUBACK, so they must not wait for it. Beyond
        LETTERS_ASIDE on their way no letter is written: the message is counted as a reject and in ``unwritten``, which
        the witness tells as ``dead_letters_unwritten_total``.
        """
        if self._aside < LETTERS_ASIDE:
            self._aside += 1
            self.post(letter, self._one_aside_less)
            return
        if self.unwritten == 0:
            _log.error(
                "%d dead letters wait for the broker; those on %s and after it are only counted: may this stage write"
                " to the dead-letter topics?",
                LETTERS_ASIDE,
                letter.topic,
            )
        self.unwritten += 1
        self._witness.counters["dead_letters_unwritten_total"] = self.unwritten
        source, sequence = self._key(letter)
        self._witness.reject(letter.reason, source, sequence)

    def _one_aside_less(self) -> None:
        self._aside -= 1

    def post(self, letter: DeadLetter, done: Callable[[], None]) -> None:
        """Publish a letter, count it, tell the terminal; then call ``done``."""
        assert letter.reason in REASONS, f"{letter.reason!r} is no reason of fleetwire.reasons"
        parcel = Parcel(
            topic=self._topics.dead_letter(self._stage, letter.reason, _source(letter, self._topics)),
            payload=letter.payload,
            properties=self._properties(letter),
            nobody_may_listen=True,
            done=lambda: self._posted(letter, done),
            too_large=lambda: self._delivery.send(self._cut(letter, done)),
        )
        self._delivery.send(parcel)

    def _cut(self, letter: DeadLetter, done: Callable[[], None]) -> Parcel:
        size = ("payload_bytes", str(len(letter.payload)))
        return Parcel(
            topic=self._topics.dead_letter(self._stage, letter.reason, _source(letter, self._topics)),
            payload=letter.payload[:CUT_BYTES],
            properties=[*self._properties(letter), size],
            nobody_may_listen=True,
            done=lambda: self._posted(letter, done),
        )

    def _properties(self, letter: DeadLetter) -> list[tuple[str, str]]:
        detail = printable(letter.detail)[:DETAIL_CHARACTERS]
        properties = [
            ("stage", self._stage),
            ("reason", letter.reason),
            ("detail", detail),
            ("original_topic", letter.topic),
        ]
        if letter.key is not None:
            properties.append(("key", str(letter.key)))
        return properties

    def _key(self, letter: DeadLetter) -> tuple[str, int]:
        return letter.key or (_source(letter, self._topics), 0)

    def _posted(self, letter: DeadLetter, done: Callable[[], None]) -> None:
        source, sequence = self._key(letter)
        self._witness.reject(letter.reason, source, sequence)
        if letter.key is None or not letter.tell_terminal:
            done()
            return
        rejection = Rejection(sequence, self._stage, letter.reason)
        parcel = Parcel(
            topic=self._topics.command("outcome", Terminal.parse(source)),
            payload=encode(Outcome(by=self._stage, rejected=[rejection])),
            content_type=JSON,
            nobody_may_listen=True,
            done=done,
        )
        self._delivery.send(parcel)


def printable(text: str) -> str:
    """The text without what MQTT strings may not hold: control characters and lone surrogates become ``?``."""
    return "".join(
        character if character.isprintable() or character == " " else "?" for character in text[: 2 * DETAIL_CHARACTERS]
    )


def _source(letter: DeadLetter, topics: Topics) -> str:
    if letter.key is not None:
        return letter.key.source
    try:
        return Terminal.parse(topics.source_of(letter.topic)).id
    except BadPayload:
        return UNKNOWN
