"""The lab's own MQTT session, straight to the broker: it hears which stages are up, and tidies up at the end.

It proves that the broker is one before anything else is started, and it is the final read of a lab that ends at PARM:
then it remembers the content hash of every canonical event that it sees. A lab that ends at the broker has no canonical
events: then it remembers the keys of the raw ones. What it missed while it was not connected it cannot know, so there
is no final read any more once that has happened, nor once there was more than REMEMBERED_LIMIT to remember.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Sequence
from typing import Final

import msgspec

from fleetwire.broker_endpoint import trust
from fleetwire.clock import TERMINAL_WILL_DELAY_S
from fleetwire.content import content_hash
from fleetwire.errors import BadPayload, FleetError, SettingsError
from fleetwire.events import CanonicalEvent
from fleetwire.held_events import HeldEvents
from fleetwire.identity import Key
from fleetwire.intervals import IntervalSet
from fleetwire.message_key import key_of
from fleetwire.mqtt import ConnectRefused, Endpoint, Message, MqttError, SessionOptions, StageClient, TopicFilter
from fleetwire.topics import Topics
from fleetwire.witness import Holding, ViewRead
from storefleet.broker_watch import TOPICS, BrokerWatch
from storefleet.packed_reads import pack
from storefleet.plan import EXTERNAL, LabPlan

OBSERVED_VIEWS: Final = {"parm": "canonical", "broker": "raw"}
"""Who answers outcomes in a lab -> the view that only the observer can read."""
REMEMBERED_LIMIT: Final = 2_000_000
"""Canonical events by value, or intervals of raw ones."""
HOST_LIMIT: Final = 1_000
HOST_BYTES: Final = 4_096
"""Of one host's name and word together."""
ANSWER_TIMEOUT_S: Final = 5.0
CLEAR_QUIET_S: Final = 0.5
"""Retained messages arrive at once after subscribing: so long a silence means that there are no more."""
WILLS_QUIET_S: Final = TERMINAL_WILL_DELAY_S + 2.0
"""After a crash the wills of terminals may still be under way; a broker's clock has whole seconds."""
CLEAR_TIMEOUT_S: Final = 20.0

_decode = msgspec.json.Decoder(CanonicalEvent).decode
_log = logging.getLogger(__name__)


def endpoint(host: str, port: int, *, tls: bool, ca_file: str = "") -> Endpoint:
    """The broker's endpoint; when it speaks TLS, with this certificate authority, or the system's. SettingsError."""
    return Endpoint(host=host, port=port, tls=trust(ca_file) if tls else None)


class Observer:
    """``hosts`` is the newest word of every stage instance about itself, by ``stage/instance``."""

    def __init__(self, client: StageClient, topics: Topics, *, remembers: str) -> None:
        """``remembers``: the view that it is the final read of, or '' for none."""
        self._client = client
        self._topics = topics
        self.hosts: dict[str, bytes] = {}
        self.heard_canonical = asyncio.Event()
        self._remembers = remembers
        self._hashes: dict[str, dict[int, bytes]] = {}
        self._keys: dict[str, IntervalSet] = {}
        self._held = HeldEvents()
        """The same as ``_hashes``, to be compared while the run goes on."""
        self._remembered = 0
        self._gap = False

    @classmethod
    async def open(
        cls, plan: LabPlan, broker: Endpoint, *, username: str, password: bytes | None, missed_some: bool = False
    ) -> Observer:
        """Connect; raises SettingsError in one line when this is no broker, or one that does not let us in.

        ``missed_some``: an earlier observer of this run has died with all that it remembered.
        """
        topics = Topics(plan.topic_root)
        options = SessionOptions(
            client_id=f"{plan.name}.lab", username=username or None, password=password, clean_start=True
        )
        client = StageClient(broker, options, ready_timeout_s=6.0, on_disconnected=lambda _: observer._on_gap())
        observer = cls(client, topics, remembers=OBSERVED_VIEWS.get(plan.outcome_stage, ""))
        observer._gap = missed_some
        client.on(TopicFilter(pattern=f"{topics.root}/host/#"), observer._on_host)
        if plan.outcome_stage == "parm" or plan.commands.get("parm") == EXTERNAL:
            client.on(TopicFilter(pattern=topics.all_of("canonical", "transaction")), observer._on_canonical)
        if plan.outcome_stage == "broker":
            client.on(TopicFilter(pattern=topics.all_of("terminal", "transaction")), observer._on_raw)
        try:
            await client.__aenter__()
        except MqttError as error:
            raise SettingsError(f"broker {broker.host}:{broker.port}: {error}; {_advice(error)}") from error
        return observer

    def watch_broker(self, watch: BrokerWatch) -> None:
        """Hear what our own broker says of itself."""

        def receive(message: Message) -> None:
            watch.receive(message)
            self._client.acknowledge(message)

        for topic in TOPICS:
            self._client.on(TopicFilter(pattern=topic), receive)

    async def close(self) -> None:
        """Leave the broker."""
        await self._client.__aexit__(None, None, None)

    def final_read(self) -> dict[str, dict[str, ViewRead]]:
        """View -> source -> every event that was on the broker; empty when none is observed, or some may be missed.

        Canonical events are remembered by value, raw ones by key alone: their payload is the brand's own.
        """
        if self._gap or not self._remembers:
            return {}
        found = {source: pack(hashes) for source, hashes in self._hashes.items()}
        found |= {source: ViewRead(intervals=keys.to_list(), hashes=b"") for source, keys in self._keys.items()}
        return {self._remembers: found}

    def holding(self) -> Holding | None:
        """What changed since the last call of the canonical events that it remembers; None when some may be missed."""
        if self._gap or self._remembers != OBSERVED_VIEWS["parm"]:
            return None
        return self._held.report(full=False)[0]

    def _on_gap(self) -> None:
        self._gap = True
        self._hashes.clear()
        self._keys.clear()
        self._held.begin_anew()

    def _on_host(self, message: Message) -> None:
        self._client.acknowledge(message)
        name = "/".join(message.topic.split("/")[-2:])
        if len(name) + len(message.payload) > HOST_BYTES:
            return
        if name in self.hosts or len(self.hosts) < HOST_LIMIT:
            self.hosts[name] = message.payload

    def _on_raw(self, message: Message) -> None:
        self._client.acknowledge(message)
        key = key_of(message)
        if key is None or not self._remembers_more():
            return
        keys = self._keys.setdefault(key.source, IntervalSet())
        before = len(keys)
        keys.add(key.sequence)
        self._remembered += len(keys) - before

    def _on_canonical(self, message: Message) -> None:
        self._client.acknowledge(message)
        self.heard_canonical.set()
        if not self._remembers or not self._remembers_more():
            return
        try:
            event = _decode(message.payload)
            key = Key.parse(f"{event.source}.{event.sequence}")
            data = msgspec.json.decode(event.data)
            digest = content_hash(event.type, event.time, event.business_day_date, data)
        except (BadPayload, msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError):
            return
        hashes = self._hashes.setdefault(key.source, {})
        if key.sequence not in hashes:
            self._remembered += 1
            hashes[key.sequence] = digest
            self._held.add(key.source, key.sequence, digest)

    def _remembers_more(self) -> bool:
        """Whether there is room; from the first time that there is none, all is forgotten."""
        if self._remembered >= REMEMBERED_LIMIT and not self._gap:
            _log.error(
                "the lab remembers no more than %d %s events: there will be no final read of them, and the verdict is"
                " unknown; end the run earlier",
                REMEMBERED_LIMIT,
                self._remembers,
            )
            self._on_gap()
        return not self._gap


def _advice(error: MqttError) -> str:
    if isinstance(error, ConnectRefused):
        return "check the user name in --broker, and STOREFLEET_BROKER_PASSWORD or --broker-password-file"
    if isinstance(error.__cause__, ssl.SSLCertVerificationError):
        return "check --broker, or name its certificate authority by --broker-ca-file"
    return "check --broker"


async def require_answer(host: str, port: int) -> None:
    """Somebody listens at that address; raises SettingsError in one line, at once when nobody does."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            _, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        reason = (
            f"no answer within {ANSWER_TIMEOUT_S:g} s" if isinstance(error, TimeoutError) else error.strerror or error
        )
        raise SettingsError(
            f"broker {host}:{port}: {reason}; check --broker, and that the broker runs there"
        ) from error
    writer.close()


async def end_sessions(
    where: Endpoint, client_ids: Sequence[str], *, username: str | None, password: bytes | None
) -> None:
    """Make the broker forget these sessions at once: a clean start without expiry replaces each, and ends. FleetError."""
    for client_id in client_ids:
        options = SessionOptions(client_id=client_id, username=username, password=password, clean_start=True)
        async with StageClient(where, options, ready_timeout_s=6.0):
            pass


async def clear_retained(
    where: Endpoint,
    root: str,
    *,
    client_id: str,
    username: str | None,
    password: bytes | None,
    quiet_s: float = CLEAR_QUIET_S,
) -> int:
    """Delete every retained message below the root, a will's too that is published within ``quiet_s`` of the last one.

    Returns how many topics had one. Raises FleetError.
    """
    topics: set[str] = set()
    waiting: set[str] = set()
    heard = asyncio.Event()

    def note(message: Message) -> None:
        if message.retain and message.payload:
            topics.add(message.topic)
            waiting.add(message.topic)
            heard.set()

    options = SessionOptions(client_id=client_id, username=username, password=password, clean_start=True)
    everything = TopicFilter(pattern=f"{root}/#", qos=0)
    async with StageClient(where, options, handlers=[(everything, note)], ready_timeout_s=6.0) as client:
        deadline_s = asyncio.get_running_loop().time() + CLEAR_TIMEOUT_S
        while asyncio.get_running_loop().time() < deadline_s:
            heard.clear()
            while waiting:
                await client.publish(waiting.pop(), b"", qos=1, retain=True)
            try:
                async with asyncio.timeout(quiet_s):
                    await heard.wait()
            except TimeoutError:
                return len(topics)
    raise FleetError(
        f"retained messages below {root} keep coming after {CLEAR_TIMEOUT_S:g} s; is the lab still running?"
    )
