"""The sync stage's process: canonical topics in, documents in the gateway, nothing acknowledged that is not stored.

Each event is acknowledged after its own row of ``_bulk_docs`` says that it is stored, or after its dead letter is.
While the gateway refuses, at most BACKLOG_LIMIT messages are held; the rest stays in the broker.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from consumers.sync_stage import applied_log
from consumers.sync_stage.applied_log import AppliedLog
from consumers.sync_stage.canonical_documents import prepare, read_status
from consumers.sync_stage.document_writer import DocumentWriter
from consumers.sync_stage.status_writer import StatusWriter
from consumers.sync_stage.suspects import Suspects, Task
from fleetwire import bounded_json, vital_tasks
from fleetwire.answering import OutcomeAnswerer
from fleetwire.attempt_record import DEATHS_ALLOWED, FILE_NAME, AttemptRecord, message_name
from fleetwire.canonical_message import key_in_payload
from fleetwire.control import Handler
from fleetwire.dead_letters import DeadLetter, DeadLetterOffice
from fleetwire.delivery import Delivery
from fleetwire.errors import BadPayload, SettingsError, StorageError
from fleetwire.gateway_client import GatewayClient
from fleetwire.identity import Key
from fleetwire.in_hand import Identity, InHand
from fleetwire.message_key import attempt_of, key_of
from fleetwire.mqtt import Message, TopicFilter
from fleetwire.partition import is_responsible
from fleetwire.settings import PREFIX, StageSettings
from fleetwire.stage_sessions import SESSION_EXPIRY_S, StageSessions
from fleetwire.topics import Topics
from fleetwire.troubles import GATEWAY_REFUSES, NOT_CONNECTED, Absence, tell_contested, tell_storage
from fleetwire.witness import Witness

BACKLOG_LIMIT: Final = 2_000
GROUP: Final = "sync-stage"
STAGE: Final = "sync_stage"

Posted = Callable[[], None]

_log = logging.getLogger(__name__)


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``STOREFLEET_OPTIONS`` of this stage."""

    maximum_payload_bytes: int = 1024 * 1024
    session_expiry_s: Annotated[int, Meta(ge=1, le=86_400)] = SESSION_EXPIRY_S
    """How long the broker keeps our share of the events while we are away."""


class SyncStage:
    """See :class:`fleetwire.stage.Stage`."""

    def __init__(self, settings: StageSettings) -> None:
        self.witness = Witness()
        self._settings = settings
        self._options = read_options(settings)
        self._topics = Topics(settings.topic_root)
        self._storing = Absence(self.witness, GATEWAY_REFUSES, "gateway")
        self._session = Absence(self.witness, NOT_CONNECTED, "broker")
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> Mapping[str, str]:
        """Connect to gateway and broker; raises FleetError when one of the settings cannot work."""
        settings = self._settings
        if not settings.gateway_url:
            raise SettingsError(f"{PREFIX}GATEWAY_URL is not set: the sync stage writes to a gateway")
        sessions = self._sessions = StageSessions(
            settings, backlog_limit=BACKLOG_LIMIT, session_expiry_s=self._options.session_expiry_s
        )
        self._gateway = GatewayClient(settings.gateway_url)
        self._attempts = AttemptRecord(Path(settings.state_dir) / FILE_NAME)
        quiet = asyncio.Lock()
        self._documents = DocumentWriter(
            self._gateway, Suspects(self._attempts), quiet, stored=self._stored, refused=self._refused
        )
        self._statuses = StatusWriter(self._gateway, quiet)
        self._delivery = Delivery(sessions.outbound)
        self._dead_letters = DeadLetterOffice(self._delivery, self._topics, STAGE, self.witness)
        self._in_hand = InHand(sessions.inbound)
        self._applied = AppliedLog(Path(settings.state_dir)) if settings.outcomes else None
        if self._applied is not None:
            self.witness.resume(self._applied.sets)
        self._answerer = self._make_answerer()
        sessions.outbound.on(TopicFilter(pattern=self._topics.all_of("canonical", "status")), self._receive_status)
        sessions.inbound.on(
            TopicFilter(pattern=self._topics.shared(GROUP, "canonical", "transaction")), self._receive_event
        )
        await sessions.open_outbound()
        self._tasks.append(vital_tasks.start(self._documents.run(), "sync_stage.documents"))
        self._tasks.append(vital_tasks.start(self._statuses.run(), "sync_stage.statuses"))
        await sessions.open_inbound()
        return {}

    async def stop(self) -> None:
        """Take nothing new, give what is in hand a moment, leave the rest to the broker, disconnect."""
        self._sessions.inbound.session.pause_reading()
        await self._in_hand.drain()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._answerer is not None:
            self._answerer.stop()
        self._delivery.close()
        await self._sessions.close()
        await self._gateway.close()
        self._attempts.close()
        if self._applied is not None:
            self._applied.close()

    def measure(self) -> None:
        """Counters for the snapshot."""
        if not self._tasks:
            return
        written = self._documents.counters
        self.witness.counters.update(
            in_hand=len(self._in_hand),
            backlog=len(self._in_hand),
            paused=self._sessions.inbound.paused,
            batch_size_average=written.batch_size_average,
            gateway_errors_total=written.gateway_errors + self._statuses.gateway_errors,
            conflicts_total=written.conflicts,
            statuses_total=self._statuses.written,
            dead_letters_total=sum(self.witness.rejects.values()),
        )
        tell_storage(self.witness, FILE_NAME, self._attempts.refusal)
        if self._applied is not None:
            tell_storage(self.witness, applied_log.FILE_NAME, self._applied.refusal)
        self._storing.see(present=not self._documents.refusal, detail=self._documents.refusal)
        self._session.see(present=not self._sessions.lack, detail=self._sessions.lack)
        tell_contested(self.witness, self._sessions.contested)

    def handlers(self) -> Mapping[str, Handler]:
        """No control methods of its own."""
        return {}

    def _make_answerer(self) -> OutcomeAnswerer | None:
        if self._applied is None:
            return None
        answerer = OutcomeAnswerer(
            self._sessions.outbound,
            self._topics,
            STAGE,
            self._applied.sets,
            lambda: len(self._in_hand),
            dead_letters=self._dead_letters,
        )
        answerer.start()
        return answerer

    def _receive_event(self, message: Message) -> None:
        identity = self._in_hand.begin(message)
        if identity is None:
            self.witness.duplicates_absorbed += 1
        elif message.duplicate:
            self._prepare_carefully(identity, message)
        else:
            self._prepare(identity, message)

    def _prepare_carefully(self, identity: Identity, message: Message) -> None:
        name = message_name(message.topic, message.properties, message.payload)
        if self._attempts.begin(name):
            self._prepare(identity, message)
            self._attempts.end(name)
            return
        # What it did is forgotten only with its letter at the broker: another one in this read may kill us before.
        self._attempts.leave(name)
        detail = f"the sync stage died {DEATHS_ALLOWED} times while it worked on this message"
        self._bury_unread(identity, message, "crash", detail, functools.partial(self._attempts.end, name))

    def _prepare(self, identity: Identity, message: Message) -> None:
        try:
            prepared = prepare(self._topics, message, self._options.maximum_payload_bytes)
        except BadPayload as error:
            self._bury_unread(identity, message, error.reason, error.detail)
        except Exception as error:  # noqa: BLE001 - what nobody foresaw becomes a dead letter, not a dead stage
            detail = traceback.format_exception_only(error)[-1].strip()
            self._bury_unread(identity, message, "stage_error", detail)
        else:
            self.witness.take(*prepared.key, prepared.attempt)
            self._documents.add(Task(identity, message, prepared))

    def _stored(self, tasks: Sequence[Task]) -> None:
        if self._applied is not None:
            try:
                self._applied.add(task.prepared.key for task in tasks)
            except StorageError as error:
                # They are stored all the same; after a restart we would not know, be asked, and store them again.
                _log.error("%s", error)
        for task in tasks:
            source, sequence = task.prepared.key
            self.witness.hand_on(source, sequence, "stored")
            self._in_hand.done(task.identity)
            if self._answerer is not None:
                self._answerer.applied_now(source)

    def _refused(self, task: Task, reason: str, detail: str) -> None:
        self._bury(task.identity, task.message, reason, detail, functools.partial(self._documents.buried, task))

    def _bury_unread(
        self, identity: Identity, message: Message, reason: str, detail: str, posted: Posted | None = None
    ) -> None:
        key = _key_of(message)
        if key is not None:
            self.witness.take(*key, attempt_of(message, in_payload=False))
        self._bury(identity, message, reason, detail, posted)

    def _bury(
        self, identity: Identity, message: Message, reason: str, detail: str, posted: Posted | None = None
    ) -> None:
        letter = DeadLetter(
            reason=reason,
            detail=detail,
            topic=message.topic,
            payload=message.payload,
            key=_key_of(message),
            # Behind a conflict stands an event that is stored: its key is applied, only this content is not.
            tell_terminal=reason != "key_conflict",
        )
        self._dead_letters.post(letter, functools.partial(self._buried, identity, posted))

    def _buried(self, identity: Identity, posted: Posted | None) -> None:
        self._in_hand.done(identity)
        if posted is not None:
            posted()

    def _receive_status(self, message: Message) -> None:
        acknowledge = self._sessions.outbound.acknowledge
        if not message.payload:
            acknowledge(message)
            return
        try:
            status = read_status(self._topics, message)
        except BadPayload as error:
            letter = DeadLetter(reason=error.reason, detail=error.detail, topic=message.topic, payload=message.payload)
            self._dead_letters.post_aside(letter)
            acknowledge(message)
            return
        settings = self._settings
        store_id = f"{status.brand}.{status.region}.{status.store}"
        if is_responsible(store_id, settings.instance, settings.instances):
            self._statuses.add(status)
        acknowledge(message)


def _key_of(message: Message) -> Key | None:
    return key_of(message, in_payload=False) or key_in_payload(message)


def read_options(settings: StageSettings) -> Options:
    """The stage's options; raises SettingsError."""
    try:
        return bounded_json.decode(settings.options, type=Options)
    except msgspec.MsgspecError as error:
        raise SettingsError(f"{PREFIX}OPTIONS={settings.options!r}: {error}") from error
