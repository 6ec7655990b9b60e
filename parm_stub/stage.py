"""PARM's process: raw topics in, canonical topics and dead letters out, and the state of the stores beside it.

Any number of instances share the events; each looks after its part of the stores. See ``transactions`` for what happens
to an event, ``registers`` for what happens to state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from fleetwire import bounded_json, vital_tasks
from fleetwire.answering import OutcomeAnswerer
from fleetwire.attempt_record import FILE_NAME, AttemptRecord
from fleetwire.control import Handler
from fleetwire.dead_letters import DeadLetterOffice
from fleetwire.delivery import Delivery
from fleetwire.errors import SettingsError
from fleetwire.in_hand import InHand
from fleetwire.mqtt import TopicFilter
from fleetwire.settings import PREFIX, StageSettings
from fleetwire.stage_sessions import SESSION_EXPIRY_S, StageSessions
from fleetwire.topics import Topics
from fleetwire.troubles import NOT_CONNECTED, Absence, tell_contested, tell_storage
from fleetwire.witness import Witness
from parm_stub.applied import Applied
from parm_stub.register_publisher import RegisterPublisher
from parm_stub.registers import Registers
from parm_stub.transactions import STAGE, Transactions, Transform
from parm_stub.transform import Transformer

BACKLOG_LIMIT: Final = 1_000


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``STOREFLEET_OPTIONS`` of PARM."""

    maximum_payload_bytes: Annotated[int, Meta(ge=1)] = 64 * 1024
    """Lies below the broker's own limit, so that what is too large becomes a dead letter and does not vanish there."""
    heartbeat_timeout_s: Annotated[float, Meta(gt=0)] = 75.0
    """Network seconds: how long a terminal may be silent before it counts as offline."""
    session_expiry_s: Annotated[int, Meta(ge=1, le=86_400)] = SESSION_EXPIRY_S
    """How long the broker keeps our share of the events while we are away."""


class Parm:
    """See :class:`fleetwire.stage.Stage`; ``transform`` takes the place of the brands' mappings."""

    def __init__(self, settings: StageSettings, transform: Transform | None = None) -> None:
        self.witness = Witness()
        self._settings = settings
        self._options = read_options(settings)
        self._applied = Applied()
        self._topics = Topics(settings.topic_root)
        self._transform = transform or self._packaged_transform()
        self._watching: asyncio.Task[None] | None = None
        self._session = Absence(self.witness, NOT_CONNECTED, "broker")

    async def start(self) -> Mapping[str, str]:
        """Connect, read the registers, then take events; raises FleetError when the settings cannot work."""
        sessions = self._sessions = StageSessions(
            self._settings,
            backlog_limit=BACKLOG_LIMIT,
            session_expiry_s=self._options.session_expiry_s,
            on_forgotten=self._forgotten,
        )
        self._delivery = Delivery(sessions.outbound)
        self._in_hand = InHand(sessions.inbound)
        dead_letters = DeadLetterOffice(self._delivery, self._topics, STAGE, self.witness)
        self._attempts = AttemptRecord(Path(self._settings.state_dir) / FILE_NAME)
        self._answerer = self._make_answerer(dead_letters)
        transactions = Transactions(
            self._topics,
            self._transform,
            witness=self.witness,
            in_hand=self._in_hand,
            delivery=self._delivery,
            dead_letters=dead_letters,
            attempts=self._attempts,
            answerer=self._answerer,
            applied=self._applied,
        )
        self._registers = Registers(
            self._settings,
            sessions.outbound,
            RegisterPublisher(self._delivery),
            dead_letters,
            heartbeat_timeout_s=self._options.heartbeat_timeout_s,
        )
        pattern = self._topics.shared(STAGE, "terminal", "transaction")
        sessions.inbound.on(TopicFilter(pattern=pattern), transactions.receive)
        await sessions.open_outbound()
        await self._registers.start()
        self._watching = vital_tasks.start(self._registers.watch(), "parm.silence")
        await sessions.open_inbound()
        return {}

    async def stop(self) -> None:
        """Take nothing new, give what is in hand a moment, leave the rest to the broker, disconnect."""
        self._sessions.inbound.session.pause_reading()
        await self._in_hand.drain()
        if self._watching is not None:
            self._watching.cancel()
        if self._answerer is not None:
            self._answerer.stop()
        self._delivery.close()
        await self._sessions.close()
        self._attempts.close()

    def measure(self) -> None:
        """Counters for the snapshot."""
        if self._watching is None:
            return
        self.witness.counters.update(
            in_hand=len(self._in_hand),
            backlog=len(self._in_hand),
            paused=self._sessions.inbound.paused,
            publish_retries_total=self._delivery.retries,
            dead_letters_total=sum(self.witness.rejects.values()),
            **self._registers.counters(),
        )
        tell_storage(self.witness, FILE_NAME, self._attempts.refusal)
        self._session.see(present=not self._sessions.lack, detail=self._sessions.lack)
        tell_contested(self.witness, self._sessions.contested)

    def handlers(self) -> Mapping[str, Handler]:
        """No control methods of its own."""
        return {}

    def _forgotten(self) -> None:
        self._registers.publish_again()

    def _packaged_transform(self) -> Transform:
        limit = self._options.maximum_payload_bytes
        return Transformer(self._topics, self._settings.dialects, maximum_bytes=limit).transform

    def _make_answerer(self, dead_letters: DeadLetterOffice) -> OutcomeAnswerer | None:
        """What PARM has handed on is applied when nobody stands behind it."""
        if not self._settings.outcomes:
            return None
        answerer = OutcomeAnswerer(
            self._sessions.outbound,
            self._topics,
            STAGE,
            self._applied,
            lambda: len(self._in_hand),
            dead_letters=dead_letters,
        )
        answerer.start()
        return answerer


def read_options(settings: StageSettings) -> Options:
    """The stage's options; raises SettingsError."""
    try:
        return bounded_json.decode(settings.options, type=Options)
    except msgspec.MsgspecError as error:
        raise SettingsError(f"{PREFIX}OPTIONS={settings.options!r}: {error}") from error
