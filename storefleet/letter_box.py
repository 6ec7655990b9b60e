"""Writes down every dead letter of the lab: one line each in ``letters.jsonl`` (:mod:`storefleet.verdict.letter_file`).

A line is written whole or not at all, so whoever reads the file of a lab that died loses no more than what came in its
last moment. Letters for which there is no line any more (too many, or a full disk) are counted by stage and reason.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from fleetwire import bounded_json
from fleetwire.canonical_message import claimed_source
from fleetwire.clock import now_ms
from fleetwire.content import content_hash
from fleetwire.dead_letters import DETAIL_CHARACTERS, UNKNOWN, printable
from fleetwire.errors import BadPayload
from fleetwire.events import CanonicalEvent
from fleetwire.identity import MAXIMUM_ID_CHARACTERS, Key
from fleetwire.mqtt import Message
from fleetwire.topics import Topics
from storefleet.letter_words import detail_of, message_name
from storefleet.run_log import Note, unnoted
from storefleet.verdict.letter_file import (
    BODY_BYTES,
    BODY_LIMIT,
    LETTER_LIMIT,
    REST,
    Beyond,
    Counts,
    End,
    Gap,
    Header,
    Letter,
)
from storefleet.verdict.machine import LAB_PROCESS

WORD_CHARACTERS: Final = 64
TOPIC_CHARACTERS: Final = 300
KINDS_COUNTED: Final = 200
"""So many pairs of stage and reason are told apart beyond the lines; the rest is counted together."""

_log = logging.getLogger(__name__)
_decode_event = bounded_json.Decoder(CanonicalEvent).decode


@dataclass(slots=True)
class Counted:
    """Letters of one stage and reason; ``first``: what the first of them is called."""

    first: str
    letters: int = 1


class LetterBox:
    """Give ``receive`` the dead letters; ``begin_gap`` and ``end_gap`` say when some may have been missed."""

    def __init__(self, path: Path, topics: Topics, *, missed_since_ms: int | None = None, note: Note = unnoted) -> None:
        """``missed_since_ms``: an earlier lab of this run began then; what came since it last heard of any is missed.

        ``note`` hears of the first letter of each kind.
        """
        self.kinds: dict[tuple[str, str], Counted] = {}
        """Stage and reason -> how many letters this lab has heard, and whose was the first; the first KINDS_COUNTED."""
        self.refusal = ""
        """Why the disk took no letter the last time; empty: it took it."""
        self._note = note
        self._topics = topics
        self._canonical = topics.all_of("canonical", "transaction").removesuffix("#")
        self._path = path
        self._beyond: Counts = {}
        self._beyond_written: Counts = {}
        self._gap_from_ms: int | None = None
        self._written, last_ms = _earlier(path, missed_since_ms)
        self._bodies = self._written
        self._full = False
        self._file = path.open("ab", buffering=0)
        if self._written:
            self._append(b"\n")  # the last line of a lab that died may be torn
        self._write(Header(begun_at_ms=now_ms()))
        if last_ms is not None:
            self._write(Gap(gap_from_ms=last_ms, gap_until_ms=now_ms()))

    def receive(self, message: Message) -> None:
        """One dead letter; a retained one is of an earlier day."""
        if message.retain:
            return
        letter = self._read(message)
        self._count_kind(letter)
        if self._written >= LETTER_LIMIT:
            self._say_full()
            self._count(letter)
        elif self._write(letter):
            self._written += 1
            self._bodies += 1
        else:
            self._count(letter)

    def _count_kind(self, letter: Letter) -> None:
        kind = letter.stage, letter.reason
        known = self.kinds.get(kind)
        if known is not None:
            known.letters += 1
        elif len(self.kinds) < KINDS_COUNTED:
            first = message_name(letter.source, letter.sequence)
            self.kinds[kind] = Counted(first)
            self._note("dead_letter", letter.stage, f"{letter.reason}: {first}: {letter.detail}")

    def begin_gap(self) -> None:
        """From now on letters may be missed."""
        if self._gap_from_ms is None:
            self._gap_from_ms = now_ms()
            self._note("heard_in_part", LAB_PROCESS, "the lab is away from the broker: dead letters may be missed")

    def end_gap(self) -> None:
        """From now on all are heard again."""
        if self._gap_from_ms is not None:
            self._write(Gap(gap_from_ms=self._gap_from_ms, gap_until_ms=now_ms()))
            self._gap_from_ms = None

    def flush(self) -> None:
        """Write down what has no line, as far as it was counted."""
        if self._beyond != self._beyond_written and self._write(Beyond(beyond=self._beyond)):
            self._beyond_written = {stage: dict(reasons) for stage, reasons in self._beyond.items()}

    def finish(self) -> None:
        """Everything that was sent has been heard."""
        self.end_gap()
        self.flush()
        if self._beyond == self._beyond_written:
            self._write(End(end_at_ms=now_ms()))

    def close(self) -> None:
        """Close the file: what is heard later is of no interest to the run any more."""
        self.flush()
        self._file.close()

    def _read(self, message: Message) -> Letter:
        stage, reason, source = self._topics.read_dead_letter(message.topic)
        properties = dict(message.properties)
        topic = properties.get("original_topic", "")
        sequence = None
        try:
            key = Key.parse(properties.get("key") or f"{source}.{properties.get('sequence', '')}")
            source, sequence = key
        except BadPayload:
            source = source[:MAXIMUM_ID_CHARACTERS]
        return Letter(
            at_ms=now_ms(),
            stage=printable(stage)[:WORD_CHARACTERS] or UNKNOWN,
            reason=printable(reason)[:WORD_CHARACTERS] or UNKNOWN,
            source=printable(source) or UNKNOWN,
            sequence=sequence,
            detail=printable(detail_of(properties))[:DETAIL_CHARACTERS],
            topic=printable(topic)[:TOPIC_CHARACTERS],
            content=content_of(message.payload),
            claims=claimed_source(message.payload) if not topic or topic.startswith(self._canonical) else "",
            payload=message.payload[:BODY_BYTES] if self._bodies < BODY_LIMIT else b"",
            size_bytes=len(message.payload),
        )

    def _count(self, letter: Letter) -> None:
        kinds = sum(map(len, self._beyond.values()))
        known = letter.reason in self._beyond.get(letter.stage, {})
        stage, reason = (letter.stage, letter.reason) if known or kinds < KINDS_COUNTED else (REST, REST)
        reasons = self._beyond.setdefault(stage, {})
        reasons[reason] = reasons.get(reason, 0) + 1

    def _say_full(self) -> None:
        if not self._full:
            self._full = True
            _log.warning(
                "%s holds %d dead letters; further ones are counted by stage and reason only, and nothing explains them",
                self._path,
                LETTER_LIMIT,
            )

    def _write(self, line: Header | Letter | Gap | Beyond | End) -> bool:
        return self._append(msgspec.json.encode(line) + b"\n")

    def _append(self, line: bytes) -> bool:
        if self._file.closed:
            return False
        end = self._file.seek(0, os.SEEK_END)
        try:
            complete = self._file.write(line) == len(line)
            reason = "no space left on device"
        except OSError as error:
            complete, reason = False, error.strerror or str(error)
        self.refusal = "" if complete else reason
        if not complete:
            self._file.truncate(end)
            if not self._full:
                self._full = True
                _log.error("%s: %s: dead letters are only counted until there is room on this disk", self._path, reason)
        return complete


def content_of(payload: bytes) -> str:
    """Content hash of a canonical event, hexadecimal; empty for any other payload."""
    try:
        event = _decode_event(payload)
        data = bounded_json.decode(event.data)
        return content_hash(event.type, event.time, event.business_day_date, data).hex()
    except (msgspec.MsgspecError, UnicodeDecodeError, OverflowError):
        return ""


def _earlier(path: Path, begun_ms: int | None) -> tuple[int, int | None]:
    """How many lines an earlier lab has written, and when the last of them; None: there was no earlier lab."""
    try:
        with path.open("rb") as file:
            lines = sum(1 for _ in file)
        return lines, round(path.stat().st_mtime * 1000)
    except FileNotFoundError:
        return 0, begun_ms
