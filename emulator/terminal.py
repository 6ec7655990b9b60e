"""One terminal: its life, its session's callbacks, its outbox and its till.

It guarantees: an event is on disk before it goes on the wire, and on the wire at most WINDOW at a time; it is dropped
only when an outcome covers it; trading never waits for the network. A birth follows every CONNECT, a planned close
comes before a graceful DISCONNECT, and the broker says the rest by the will.

Ten thousand of these live in one process, so a terminal owns no task, no timer and no collection while it is idle.
"""

from __future__ import annotations

import logging
import math
from functools import partial
from typing import Final, Literal, NamedTuple

import msgspec

from emulator import telemetry
from emulator.business_day import Till
from emulator.fleet import TerminalPlan
from emulator.floor import Floor
from emulator.ledger import Remembered, StoredEvent, WrittenEvent
from emulator.life import LIVES, ONLINE, SELLING, Happening, Life
from emulator.outbox import NEVER_S, Outbox
from fleetwire import bounded_json, outcomes
from fleetwire.clock import TERMINAL_WILL_DELAY_S, now_ms, utc_text
from fleetwire.envelope import JSON, Envelope
from fleetwire.errors import BadPayload
from fleetwire.identity import Key
from fleetwire.mqtt import Message, MqttError, PacketTooLarge, Session, Will
from fleetwire.mqtt.reason_codes import PACKET_TOO_LARGE, SUCCESS

GOODBYE_S: Final = 2.0
CONFLICT_LIMIT: Final = 64
_FAILURE_CODES: Final = 0x80

_log = logging.getLogger(__name__)
_read_properties = bounded_json.Decoder(list[tuple[str, str]]).decode


class Said(NamedTuple):
    """Token of a publish to the state register."""

    reason: Literal["birth", "planned_close"]
    bd_seq: int


class Terminal:
    """The handler of one MQTT session; everything that terminals share is in the floor."""

    __slots__ = (
        "_birth_due", "_closes_by_s", "_conflicts", "_floor", "_goodbye_said", "_heartbeat_s", "_heartbeats",
        "_powered_on_s", "_session", "_wakes_s", "bd_seq", "boot", "due_tick", "id", "life", "number", "online", "outbox",
        "till",
    )  # fmt: skip

    def __init__(self, floor: Floor, plan: TerminalPlan, number: int, remembered: Remembered) -> None:
        self._floor = floor
        self.id = plan.id
        self.number = number
        self.life = Life.OFF
        self.online = self._birth_due = False
        self.bd_seq = 0
        self.due_tick = 0
        self._session: Session | None = None
        self._conflicts: dict[int, tuple[StoredEvent, bytes]] | None = None
        self._heartbeat_s = self._closes_by_s = self._wakes_s = NEVER_S
        self._heartbeats = 0
        self._goodbye_said = False
        self._powered_on_s = floor.now_s()
        self._remember(plan, remembered)

    def _remember(self, plan: TerminalPlan, remembered: Remembered) -> None:
        self.boot = remembered.boot
        business, state = self._floor.business, remembered.till_state
        self.till = Till(plan, business) if state is None else Till.restore(plan, business, state)
        self.outbox = Outbox(self.till.sequence, remembered.waiting)

    @property
    def plan(self) -> TerminalPlan:
        """Which terminal this is, and of what kind."""
        return self.till.plan

    def _step(self, happening: Happening) -> bool:
        following = LIVES.get((self.life, happening))
        if following is None:
            return False
        self.life = following
        return True

    # Power, opening and closing

    def power_on(self) -> bool:
        """Begin to connect; a terminal that was on before starts anew, from what is on disk. Raises StorageError."""
        if self.life is not Life.OFF:
            return False
        if self._session is not None:
            self._remember(self.plan, self._floor.journal.ledger.boot_one(self.number))
            self.bd_seq = 0
        self._powered_on_s = self._floor.now_s()
        self._step(Happening.POWER_ON)
        self._connect()
        return True

    def power_cut(self) -> bool:
        """Lose power: no DISCONNECT, and what was only in memory is gone."""
        if not self._step(Happening.POWER_CUT):
            return False
        self._conflicts = None
        if self._session is not None:
            self._session.abort(forget=True)
        self._went_offline("lost")
        return True

    def open_store(self) -> bool:
        """Trade again after a graceful close."""
        if not self._step(Happening.OPEN):
            return False
        self._connect()
        return True

    def close_store(self, grace_s: float) -> bool:
        """Stop trading; say goodbye once nothing is unresolved any more, after ``grace_s`` in any case."""
        if not self._step(Happening.CLOSE):
            return False
        if self.life is Life.CLOSED:
            self._went_offline("planned_close")
            self._disconnect()
            return True
        self._goodbye_said = False
        self._closes_by_s = self._floor.now_s() + grace_s
        self._close_when_done()
        self._schedule()
        return True

    def _connect(self) -> None:
        self._heartbeat_s = NEVER_S
        self._closes_by_s = NEVER_S
        if self._session is None:
            self._session = self._floor.open_session(self)
        else:
            self._session.reopen()

    def _disconnect(self) -> None:
        if self._session is not None:
            self._session.disconnect()

    def _close_when_done(self) -> None:
        if self.life is not Life.CLOSING:
            return
        now_s = self._floor.now_s()
        if self._goodbye_said:
            if now_s >= self._closes_by_s:
                self._leave()
        elif now_s >= self._closes_by_s or not self.outbox.unresolved:
            self._goodbye_said = True
            self._closes_by_s = now_s + GOODBYE_S
            self._say("planned_close")

    def _leave(self) -> None:
        if self._step(Happening.SAID_GOODBYE):
            self._closes_by_s = NEVER_S
            self._went_offline("planned_close")
            self._disconnect()

    # The state register

    def will(self) -> Will:
        """What the broker says when we are gone; asked at every CONNECT, so every connection has its own number."""
        self.bd_seq += 1
        payload = self._state("lost", None)
        return Will(
            topic=self._topic("state"), payload=payload, retain=True, delay_s=TERMINAL_WILL_DELAY_S, content_type=JSON
        )

    def _topic(self, kind: str) -> str:
        return self._floor.topics.terminal(kind, self.plan.terminal)

    def _clock_text(self) -> str:
        """What this terminal's own clock says; it may be wrong."""
        return utc_text(self._floor.clock.now_s() + self.plan.clock_skew_s)

    def _state(self, reason: Literal["birth", "lost", "planned_close"], time: str | None) -> bytes:
        session = telemetry.Session(self.boot, self.bd_seq)
        return msgspec.json.encode(telemetry.state_fields(self.plan, session, reason, time))

    def _say(self, reason: Literal["birth", "planned_close"]) -> bool:
        payload = self._state(reason, self._clock_text())
        return self._publish_control("state", payload, retain=True, token=Said(reason, self.bd_seq))

    def _publish_control(self, kind: str, payload: bytes, *, retain: bool = False, token: object = None) -> bool:
        if self._session is None:
            return False
        try:
            self._session.publish(self._topic(kind), payload, retain=retain, content_type=JSON, token=token)
        except MqttError as error:
            self._floor.count("publish_failures_total")
            _log.warning("%s: %s was not sent: %s", self.id, kind, error)
            return False
        return True

    def _said(self, said: Said, reason_code: int) -> None:
        if said.bd_seq != self.bd_seq or reason_code >= _FAILURE_CODES:
            return
        if said.reason == "planned_close":
            self._leave()
        elif self.life in ONLINE:
            self.online = True
            self._register(online=True, reason="birth")

    def _went_offline(self, reason: str) -> None:
        was_online, self.online = self.online, False
        self._floor.deaf.pop(self.number, None)
        if was_online:
            self._register(online=False, reason=reason)
        elif reason == "planned_close":
            # Nothing that the broker has not acknowledged becomes the truth: the session stays the one before.
            self._floor.journal.batch.close_register(self.number)
            self._floor.journal.touch()

    def _register(self, *, online: bool, reason: str) -> None:
        floor = self._floor
        row = (self.number, int(online), reason, self.boot, self.bd_seq, now_ms())
        floor.journal.batch.put_register(row)
        floor.journal.touch()
        floor.witness.register("terminals", self.id, [online, self.boot, self.bd_seq])

    # Session callbacks

    def on_connected(self, session: Session, session_present: bool) -> None:  # noqa: ARG002 - a birth follows in any case
        """Birth first, then whatever is open."""
        if not self._step(Happening.CONNECTED):
            session.disconnect()
            return
        floor = self._floor
        floor.count("connects_total")
        self._birth_due = not self._say("birth")
        now_s = floor.now_s()
        self._heartbeat_s = now_s + floor.heartbeat_interval_s * floor.jitter()
        self.outbox.connected(now_s)
        self._pump()
        self._poll_outbox(now_s)
        self._schedule()

    def on_disconnected(self, session: Session, error: MqttError) -> None:
        """The session comes back by itself; trading goes on."""
        self._floor.count("connections_lost_total" if self.life in ONLINE else "connect_failures_total")
        self._floor.contested.lost(session.client_id, error, self._floor.now_s())
        self._heartbeat_s = NEVER_S
        closes = self._step(Happening.LOST) and self.life is Life.CLOSED
        self._went_offline("planned_close" if closes else "lost")
        if self.life is Life.CLOSED:
            session.disconnect()
        elif error.final:
            _log.error("%s will not connect again: %s", self.id, error)

    def on_subscribed(self, session: Session, reason_codes: tuple[int, ...]) -> None:  # noqa: ARG002 - it has one filter
        """A refused subscription means that outcomes cannot arrive: counted, and healed by whoever refuses it."""
        if any(code >= _FAILURE_CODES for code in reason_codes):
            self._floor.count("subscriptions_refused_total")
            self._floor.deaf[self.number] = self.id
        else:
            self._floor.deaf.pop(self.number, None)

    def on_message(self, session: Session, message: Message) -> None:
        """A command; what cannot be read is counted and dropped."""
        try:
            if message.topic == self._floor.topics.command("outcome", self.plan.terminal):
                self._take_outcome(outcomes.read_outcome(message.payload))
            else:
                self._floor.count("unknown_commands_total")
        except BadPayload as error:
            self._floor.count("bad_commands_total")
            _log.warning("%s: outcome dropped: %s", self.id, error)
        session.acknowledge(message)

    def on_published(self, session: Session, token: object, reason_code: int) -> None:  # noqa: ARG002 - the token says all
        """A PUBACK is the broker's word only; the outcome decides, unless the broker is the last one present."""
        if isinstance(token, Said):
            self._said(token, reason_code)
        elif isinstance(token, int):
            self._acknowledged(token, reason_code)

    def _acknowledged(self, sequence: int, reason_code: int) -> None:
        floor = self._floor
        if reason_code == SUCCESS or (floor.accept_puback and reason_code < _FAILURE_CODES):
            floor.witness.hand_on(self.id, sequence)
            if floor.accept_puback and self.outbox.drop(sequence):
                self._resolve([sequence], [(sequence, sequence)], "applied", "broker", "")
                self._resolved()
        elif reason_code == PACKET_TOO_LARGE:
            self._refuse(sequence)
        else:
            floor.count("pubacks_refused_total")
            self.outbox.refused(sequence, floor.now_s(), floor.jitter)
            self._schedule()

    # Outcomes

    def _take_outcome(self, outcome: outcomes.Outcome) -> None:
        if max(len(outcome.applied), len(outcome.rejected)) > outcomes.MAXIMUM_RANGES:
            raise BadPayload("schema", f"an outcome of more than {outcomes.MAXIMUM_RANGES} ranges")
        told, applied = self.outbox.drop_covered(outcome.applied)
        if applied:
            self._resolve(applied, told, "applied", outcome.by, "")
            self._plant_conflicts(applied)
        for rejection in outcome.rejected:
            self._take_rejection(rejection)
        if outcome.answer:
            floor = self._floor
            self._send_again(self.outbox.answered(floor.now_s(), floor.jitter))
        self._resolved()

    def _take_rejection(self, rejection: outcomes.Rejection) -> None:
        """Enter what we were told, also of an event that has an outcome already: its second content was refused."""
        sequence = rejection.sequence
        if not 1 <= sequence <= self.outbox.sent_sequence:
            self._floor.count("bad_commands_total")
            return
        fresh = [sequence] if self.outbox.drop(sequence) else []
        self._floor.count("rejected_total", len(fresh))
        self._resolve(fresh, [(sequence, sequence)], "rejected", rejection.stage, rejection.reason)

    def _resolve(self, numbers: list[int], told: list[tuple[int, int]], verdict: str, stage: str, reason: str) -> None:
        batch = self._floor.journal.batch
        for interval in told:
            batch.add_outcome(self.number, interval, verdict, stage, reason)
        batch.resolved += [(self.number, number) for number in numbers]
        self._floor.count("resolved_total", len(numbers))
        self._floor.journal.touch()

    def _resolved(self) -> None:
        if self.outbox.backlog and self.life in ONLINE:
            self._pump()
        self._close_when_done()
        self._schedule()

    def _refuse(self, sequence: int) -> None:
        """The broker takes no packet of this size, so it never will: the terminal itself rejects the event."""
        if self.outbox.drop(sequence):
            self._floor.count("rejected_total")
            self._resolve([sequence], [(sequence, sequence)], "rejected", "terminal", "oversized")
            self._resolved()

    # Events

    def trade(self) -> bool:
        """Make the next event, if this terminal is open and the disk takes it."""
        floor = self._floor
        if self.life not in SELLING or floor.journal.full:
            return False
        event = floor.writer.write(self.till)
        sequence = event.stored.sequence
        at_once = self.outbox.add(sequence, online=self.life is Life.TRADING)
        if event.conflict:
            self._keep_conflict(event)
        self._commit(event, at_once=at_once)
        return True

    def _commit(self, event: WrittenEvent, *, at_once: bool) -> None:
        journal, stored = self._floor.journal, event.stored
        journal.batch.add_event(self.number, event, attempt=int(at_once))
        journal.moved(self.number, self.till)
        copies = self._goes_on_the_wire(stored)[1] if at_once else 0
        journal.after(partial(self._committed, stored, copies))

    def _committed(self, stored: StoredEvent, copies: int) -> None:
        self._floor.count("committed_total")
        self._floor.witness.take(self.id, stored.sequence)
        if copies:
            self._publish(stored, 1, copies)
        elif self.life in ONLINE:
            self._pump()

    def _goes_on_the_wire(self, stored: StoredEvent) -> tuple[int, int]:
        """Enter a sending; returns which attempt it is, and how many copies go out."""
        floor, sequence = self._floor, stored.sequence
        attempt = self.outbox.send(sequence, floor.now_s(), floor.jitter)
        if self.outbox.due_s < self._wakes_s:
            self._schedule()
        if attempt > 1 or floor.writer.again(self.plan, sequence, stored.type) != "repeat":
            return attempt, 1
        floor.journal.batch.planted.append((self.number, sequence, "repeat", now_ms()))
        return attempt, 2

    def _send(self, stored: StoredEvent) -> None:
        journal = self._floor.journal
        attempt, copies = self._goes_on_the_wire(stored)
        journal.batch.sent.append((attempt, self.number, stored.sequence))
        if attempt > 1:
            self._floor.count("resent_total")
            journal.batch.attempts.append((self.number, stored.sequence, attempt, now_ms()))
        journal.after(partial(self._publish, stored, attempt, copies))

    def _pump(self) -> None:
        """Move committed events from the disk to the wire, as many as fit."""
        outbox = self.outbox
        if not outbox.backlog or outbox.room <= 0:
            return
        ledger = self._floor.journal.ledger
        for stored in ledger.waiting_after(self.number, outbox.sent_sequence, outbox.room):
            self._send(stored)

    def _send_again(self, numbers: list[int]) -> None:
        if numbers:
            for stored in self._floor.journal.ledger.waiting(self.number, numbers):
                self._send(stored)

    def _publish(self, stored: StoredEvent, attempt: int, copies: int) -> None:
        session = self._session
        if session is None or not (self.life in SELLING or self.life in ONLINE):
            return
        properties = self._properties(stored, attempt)
        try:
            for _ in range(copies):
                session.publish(
                    stored.topic, stored.payload, properties=properties, content_type=JSON, token=stored.sequence
                )
        except PacketTooLarge:
            self._refuse(stored.sequence)
        except MqttError as error:
            # It stays on the wire as far as we know, so asking will find that it is not.
            self._floor.count("publish_failures_total")
            _log.warning("%s: event %d was not sent: %s", self.id, stored.sequence, error)

    def _properties(self, stored: StoredEvent, attempt: int) -> list[tuple[str, str]]:
        if stored.properties:
            return [
                (name, str(attempt) if name == "attempt" else value)
                for name, value in _read_properties(stored.properties)
            ]
        return Envelope(Key(self.id, stored.sequence), stored.type, stored.time, attempt).properties()

    # Planted conflicts

    def _keep_conflict(self, event: WrittenEvent) -> None:
        if self._conflicts is None:
            self._conflicts = {}
        if len(self._conflicts) < CONFLICT_LIMIT:
            # Without the payload that is on disk: only its envelope is needed again.
            self._conflicts[event.stored.sequence] = (event.stored._replace(payload=b""), event.conflict)

    def _plant_conflicts(self, applied: list[int]) -> None:
        """The first content is applied for sure, so what follows under its key must be refused."""
        conflicts = self._conflicts
        if conflicts is None:
            return
        for sequence in applied:
            if sequence in conflicts:
                stored, payload = conflicts.pop(sequence)
                self._floor.journal.batch.planted.append((self.number, sequence, "conflict", now_ms()))
                self._floor.journal.after(partial(self._publish, stored._replace(payload=payload), 1, 1))

    # Time

    def due(self, now_s: float) -> None:
        """The wheel's call: heartbeat, overdue events, closing."""
        self._wakes_s = NEVER_S
        if now_s >= self._heartbeat_s and self.life in ONLINE:
            self._beat(now_s)
        if self.life in ONLINE:
            self._poll_outbox(now_s)
        self._close_when_done()
        self._schedule()

    def _schedule(self) -> None:
        if self.life not in ONLINE:
            return
        wakes_s = min(self._heartbeat_s, self.outbox.due_s, self._closes_by_s)
        if wakes_s < self._wakes_s:
            self._wakes_s = wakes_s
            self._floor.wheel.set(self, wakes_s)

    def _poll_outbox(self, now_s: float) -> None:
        floor = self._floor
        if floor.journal.full:
            return
        due = self.outbox.poll(now_s, floor.jitter, ask=not floor.accept_puback)
        if due.ask:
            floor.count("asks_total")
            self._publish_control("ask", outcomes.encode(outcomes.Ask(unresolved=due.ask)))
        if due.send_again:
            self._send_again(due.send_again)

    def _beat(self, now_s: float) -> None:
        floor = self._floor
        self._birth_due = self._birth_due and not self._say("birth")  # a full queue took none before
        interval_s = floor.heartbeat_interval_s
        self._heartbeat_s = now_s + interval_s * floor.jitter()
        self._heartbeats += 1
        heartbeat = telemetry.heartbeat_fields(
            self.plan,
            telemetry.Session(self.boot, self.bd_seq),
            self._heartbeats,
            time=self._clock_text(),
            uptime_s=int((now_s - self._powered_on_s) * floor.clock.time_scale),
            queue=telemetry.Queue(self.outbox.unresolved, int(self.outbox.oldest_age_s(now_s))),
            last_sequence=self.outbox.last_sequence,
        )
        payload, expiry_s = msgspec.json.encode(heartbeat), max(1, math.ceil(2 * interval_s))
        if self._session is None:
            return
        try:
            self._session.publish(
                self._topic("heartbeat"), payload, qos=0, content_type=JSON, message_expiry_s=expiry_s
            )
            floor.count("heartbeats_total")
        except MqttError:
            floor.count("heartbeats_skipped_total")
