"""The lab's own MQTT session, straight to the broker: it hears which stages are up, and tidies up at the end.

It proves that the broker is one before anything else is started, and it is the final read of a lab that ends at PARM:
then it remembers every content of every canonical event that it sees, and under whose name there was anything untrue. A
lab that ends at the broker has no canonical events: then it remembers the keys of the raw ones. What it missed while it
was not connected it cannot know, so there is no final read any more once that has happened, nor once there was more than
REMEMBERED_LIMIT to remember, or more than SOURCE_LIMIT sources of it. What the broker dropped, instead of giving it to the
lab, the verdict knows by the broker's own count. In every lab it hears the dead letters
(:mod:`storefleet.letter_box`).

The broker keeps no session for it: our own has none left when it comes back, and on somebody else's a lab that is killed
would leave one behind. So every break is a gap, and what was counted over a gap is called a lower bound.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Final

from fleetwire.broker_endpoint import trust
from fleetwire.canonical_message import claimed_keys, claimed_source, read_whole
from fleetwire.clock import TERMINAL_WILL_DELAY_S, now_ms
from fleetwire.content import content_hash
from fleetwire.dialling import Dialler
from fleetwire.errors import BadPayload, FleetError, SettingsError
from fleetwire.held_events import HeldEvents
from fleetwire.host_port import host_port
from fleetwire.identity import Key
from fleetwire.message_key import key_of
from fleetwire.mqtt import Endpoint, Message, MqttError, SessionOptions, StageClient, TopicFilter
from fleetwire.topics import Topics
from fleetwire.troubles import CLIENT_ID_CONTESTED, SUBSCRIPTION_REFUSED
from fleetwire.witness import SOURCE_LIMIT, Holding, ViewRead
from storefleet.broker_advice import advice_on
from storefleet.broker_watch import TOPICS, BrokerWatch
from storefleet.letter_box import LetterBox
from storefleet.names_borne import NamesBorne
from storefleet.plan import EXTERNAL, LabPlan
from storefleet.remembered import Came, Contents, Numbers, untrue_content

OBSERVED_VIEWS: Final = {"parm": "canonical", "broker": "raw"}
"""Who answers outcomes in a lab -> the view that only the observer can read."""
REMEMBERED_LIMIT: Final = 2_000_000
"""Contents of canonical events, or intervals of raw ones."""
HOST_LIMIT: Final = 1_000
HOST_BYTES: Final = 4_096
"""Of one host's name and word together."""
ANSWER_TIMEOUT_S: Final = 5.0
SUBSCRIBE_TIMEOUT_S: Final = 6.0
HEAR_OUT_TIMEOUT_S: Final = 5.0
CLEAR_QUIET_S: Final = 0.5
"""Retained messages arrive at once after subscribing: so long a silence means that there are no more."""
WILLS_QUIET_S: Final = TERMINAL_WILL_DELAY_S + 2.0
"""After a crash the wills of terminals may still be under way; a broker's clock has whole seconds."""
CLEAR_TIMEOUT_S: Final = 20.0

_log = logging.getLogger(__name__)


def endpoint(host: str, port: int, *, tls: bool, ca_file: str = "") -> Endpoint:
    """The broker's endpoint; when it speaks TLS, with this certificate authority, or the system's. SettingsError."""
    return Endpoint(host=host, port=port, tls=trust(ca_file) if tls else None)


class Observer:
    """``hosts`` is the newest word of every stage instance about itself, by ``stage/instance``."""

    def __init__(
        self,
        client: StageClient,
        topics: Topics,
        *,
        remembers: str,
        letters: LetterBox | None = None,
        conflicts_planted: bool = False,
    ) -> None:
        """``remembers``: the view that it is the final read of, or '' for none."""
        self._letters = letters
        self._came_back = asyncio.Event()
        self._barrier = topics.letters_read_back()
        """The broker gives us our own message on it after all that it had for us before. It is one of the dead-letter
        topics: a broker may grant the subscription to these and forbid to read them, and then it does not come back."""
        self._client = client
        self._topics = topics
        self.hosts: dict[str, bytes] = {}
        self.heard_canonical = asyncio.Event()
        self._remembers = remembers
        self._contents = Contents()
        self._numbers = Numbers(REMEMBERED_LIMIT)
        self._untrue = NamesBorne()
        self._held = HeldEvents()
        """The first content under every key of ``_contents``, to be compared while the run goes on; and what stands beside
        it, so that the sum is not the ledger's for good, unless terminals of this fleet send such contents themselves:
        whether one is theirs is known at the end only, and a healthy lab would never converge."""
        self._conflicts_planted = conflicts_planted
        self._gap = False
        self._to_be_granted = False

    @classmethod
    async def open(
        cls,
        plan: LabPlan,
        broker: Endpoint,
        letters: LetterBox,
        *,
        username: str,
        password: bytes | None,
        missed_some: bool = False,
    ) -> Observer:
        """Connect and subscribe; raises SettingsError in one line when this is no broker, or one that does not let us in.

        ``letters`` hears the dead letters, and is closed with this. ``missed_some``: an earlier observer of this run has
        died with all that it remembered.
        """
        topics = Topics(plan.topic_root)
        options = SessionOptions(
            client_id=f"{plan.name}.lab", username=username or None, password=password, clean_start=True
        )
        client = StageClient(
            broker,
            options,
            ready_timeout_s=6.0,
            on_connected=lambda _: observer._on_connected(),
            on_subscribed=lambda said: observer._on_subscribed(granted=said),
            on_disconnected=lambda _: observer._on_gap(),
        )
        observer = cls(
            client,
            topics,
            remembers=OBSERVED_VIEWS.get(plan.outcome_stage, ""),
            letters=letters,
            conflicts_planted=bool(plan.fleet.get("conflicting")),
        )
        observer._gap = missed_some
        client.on(TopicFilter(pattern=f"{topics.root}/host/#"), observer._on_host)
        client.on(_live(topics.all_dead_letters()), observer._on_letter)
        if plan.outcome_stage == "parm" or plan.commands.get("parm") == EXTERNAL:
            client.on(_live(topics.all_of("canonical", "transaction")), observer._on_canonical)
        if plan.outcome_stage == "broker":
            client.on(_live(topics.all_of("terminal", "transaction")), observer._on_raw)
        try:
            await client.__aenter__()
        except MqttError as error:
            raise SettingsError(f"broker {host_port(broker.host, broker.port)}: {error}; {advice_on(error)}") from error
        try:
            await client.until_subscribed(SUBSCRIBE_TIMEOUT_S)
        except MqttError as error:
            _log.warning("dead letters may be missed: %s", error)
            letters.begin_gap()
        return observer

    def watch_broker(self, watch: BrokerWatch) -> None:
        """Hear what our own broker says of itself."""

        def receive(message: Message) -> None:
            watch.receive(message)
            self._client.acknowledge(message)

        for topic in TOPICS:
            self._client.on(TopicFilter(pattern=topic), receive)

    @property
    def connected(self) -> bool:
        """Whether the broker has it now."""
        return self._client.connected.is_set()

    @property
    def untrue_messages(self) -> dict[str, int]:
        """Source, or '' -> messages for canonical events that bear no key at all, under each name that they bear."""
        return self._untrue.counts

    async def hear_out(self) -> None:
        """Wait until everything that was published before this has come; bounded. Then the letters are complete."""
        assert self._letters is not None
        if await self.caught_up(HEAR_OUT_TIMEOUT_S, "the last dead letters may be missed"):
            self._letters.finish()
        self._letters.close()

    async def caught_up(self, timeout_s: float, otherwise: str) -> bool:
        """Wait until everything that was published before this has come; False, with a warning, when it did not in time.

        ``otherwise``: what follows from that.
        """
        self._came_back.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._client.publish(self._barrier, b"")
                await self._came_back.wait()
        except (TimeoutError, MqttError) as error:
            _log.warning("%s: %s", otherwise, str(error) or "the broker does not answer")
            return False
        return True

    async def close(self) -> None:
        """Leave the broker."""
        await self._client.__aexit__(None, None, None)
        if self._letters is not None:
            self._letters.close()

    def _on_letter(self, message: Message) -> None:
        self._client.acknowledge(message)
        if message.topic == self._barrier:
            if not message.retain:
                self._came_back.set()
        elif self._letters is not None:
            self._letters.receive(message)

    @property
    def reads(self) -> bool:
        """Whether it is the final read of a view."""
        return bool(self._remembers)

    def final_read(self) -> dict[str, dict[str, ViewRead]]:
        """View -> source -> every event that was on the broker; empty when none is observed, or some may be missed.

        Canonical events are remembered by value, raw ones by key alone: their payload is the brand's own.
        """
        if self._gap or not self._remembers:
            return {}
        return {self._remembers: self._numbers.read() if self._remembers == "raw" else self._contents.read()}

    def holding(self) -> Holding | None:
        """What changed since the last call of the canonical events that it remembers; None when some may be missed."""
        if self._gap or self._remembers != OBSERVED_VIEWS["parm"]:
            return None
        return self._held.report(full=False)[0]

    def troubles(self) -> dict[str, str]:
        """What is wrong with this session now: code (:data:`fleetwire.troubles.TROUBLES`) -> the particulars."""
        found = {CLIENT_ID_CONTESTED: self._client.contested, SUBSCRIPTION_REFUSED: self._client.refusal}
        return {code: words for code, words in found.items() if words}

    def _on_connected(self) -> None:
        self._to_be_granted = True

    def _on_subscribed(self, *, granted: bool) -> None:
        """The answer to what a new connection asks for tells whether all is heard from now on."""
        if self._letters is None or not self._to_be_granted:
            return
        self._to_be_granted = False
        if granted:
            self._letters.end_gap()
        else:
            self._letters.begin_gap()

    def _on_gap(self) -> None:
        if self._letters is not None:
            self._letters.begin_gap()
        self._forget()

    def _forget(self) -> None:
        self._gap = True
        self._contents = Contents()
        self._numbers = Numbers(REMEMBERED_LIMIT)
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
        if message.retain:  # of another day
            return
        key = key_of(message)
        if key is not None and self._remembers_more():
            self._numbers.add(key, now_ms())

    def _on_canonical(self, message: Message) -> None:
        self._client.acknowledge(message)
        if message.retain:  # of another day
            return
        self.heard_canonical.set()
        if not self._remembers or not self._remembers_more():
            return
        try:
            key, event, data = read_whole(self._topics, message)
        except BadPayload:
            self._note_untrue(message)
            return
        digest = content_hash(event.type, event.time, event.business_day_date, data)
        came = self._contents.add(key, digest, now_ms())
        if came is Came.FIRST:
            self._held.add(key.source, key.sequence, digest)
        elif came is Came.BESIDE:
            self._disturb(key, digest)

    def _disturb(self, key: Key, content: bytes) -> None:
        if not self._conflicts_planted:
            self._held.disturb(key.source, content)

    def _note_untrue(self, message: Message) -> None:
        """It stands under every key that it bears: one of them may be a till's of this fleet."""
        content = untrue_content(message)
        keys = claimed_keys(message)
        for key in keys:
            if self._contents.add_other(key, content) is Came.BESIDE:
                self._disturb(key, content)
        if not keys:
            said = message.user_property("source"), claimed_source(message.payload)
            self._untrue.note((self._topics.source_of(message.topic), *filter(None, said)))

    def _remembers_more(self) -> bool:
        """Whether there is room; from the first time that there is none, all is forgotten."""
        if self._gap:
            return False
        contents, numbers = self._contents, self._numbers
        if contents.remembered + numbers.remembered >= REMEMBERED_LIMIT:
            self._give_up(f"{REMEMBERED_LIMIT:,} {self._remembers} events", "end the run earlier")
        elif contents.sources + numbers.sources > SOURCE_LIMIT:
            self._give_up(
                f"{self._remembers} events of {SOURCE_LIMIT:,} sources", "find out who publishes under so many"
            )
        return not self._gap

    def _give_up(self, what: str, advice: str) -> None:
        _log.error(
            "the lab remembers no more than %s: there will be no final read of them, and the verdict is unknown; %s",
            what,
            advice,
        )
        self._forget()


def _live(pattern: str) -> TopicFilter:
    """A subscription on which ``retain`` says that the broker held a message before we came: so it is of another day.

    What is published now counts, whatever its publisher asked the broker to do with it.
    """
    return TopicFilter(pattern=pattern, retain_as_published=False)


async def require_answer(host: str, port: int) -> None:
    """Somebody listens at that address; raises SettingsError in one line, at once when nobody does."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            answering = await Dialler(host, port).connect()
    except (OSError, UnicodeError) as error:
        where = host_port(host, port)
        raise SettingsError(
            f"broker {where}: {_reason(error)}; check --broker, and that the broker runs there"
        ) from error
    answering.close()


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError) and not error.args:
        return f"no answer within {ANSWER_TIMEOUT_S:g} s"
    return str(getattr(error, "strerror", None) or error)


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
    heard, all_sent = asyncio.Event(), asyncio.Event()
    barrier = Topics(root).letters_read_back()  # it comes back behind all that was retained when it was sent

    def note(message: Message) -> None:
        if message.topic == barrier:
            all_sent.set()
        elif message.retain and message.payload:
            topics.add(message.topic)
            waiting.add(message.topic)
            heard.set()

    options = SessionOptions(client_id=client_id, username=username, password=password, clean_start=True)
    everything = TopicFilter(pattern=f"{root}/#", qos=0)
    async with StageClient(where, options, handlers=[(everything, note)], ready_timeout_s=6.0) as client:
        deadline_s = asyncio.get_running_loop().time() + CLEAR_TIMEOUT_S
        await client.until_subscribed(SUBSCRIBE_TIMEOUT_S)
        with contextlib.suppress(TimeoutError, MqttError):  # somebody else's broker may not let us say or read it
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await client.publish(barrier, b"", qos=1)
                await all_sent.wait()
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
