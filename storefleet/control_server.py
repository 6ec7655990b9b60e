"""The lab's end of the control plane: stages join it, commands come to it; each says first what opens its door.

The token (``control.json``) opens the commands' door alone. A stage's door is opened by the credential of that stage and
instance, and whoever came through it speaks for nobody else: a report in another's name, or of an impossible content, is
refused and counted in ``refused_reports``. One connection speaks for an instance: a newer incarnation takes the place of
an older one, never the other way round.

Bound to loopback. A connection that does not say ``hello`` with the right words within five seconds is cut, whether or
not it reads what it was told, and until then it may say one line of at most HELLO_LIMIT bytes; at most STRANGER_LIMIT
connections are in that state.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from fleetwire.control import HELLO_LIMIT, LINE_LIMIT, Channel, Handler, Params
from fleetwire.errors import ControlError
from fleetwire.host_port import host_port
from fleetwire.plain_words import plain
from fleetwire.possible import LARGEST_NUMBER
from storefleet.stage_credentials import StageCredentials

HELLO_TIMEOUT_S: Final = 5.0
LAST_LOOK_S: Final = 0.5
"""After a stall of ours a hello may have come in time and not be read yet: it has so long to be."""
FLUSH_TIMEOUT_S: Final = 2.0
"""How long a connection has at the end to take what was written to it, or to be read to its end."""
GOING_S: Final = 0.5
"""So long what is left of a process may be in the way of the same one, started again by hand."""
CONNECTION_LIMIT: Final = 200
STRANGER_LIMIT: Final = 50
CLIENT: Final = "client"
STRANGER: Final = "stranger"
"""Whose refused reports are counted under no stage's name: who has the commands' token, and who has nothing of ours."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Member:
    """One instance of a stage that has joined."""

    stage: str
    instance: int
    incarnation: int
    process_id: int
    channel: Channel
    endpoints: dict[str, str] = field(default_factory=dict)
    ready: bool = False


Number = Annotated[int, Meta(ge=1, le=LARGEST_NUMBER)]


class _Speaker(Struct):
    """In whose name something is said."""

    stage: Annotated[str, Meta(min_length=1, max_length=64)]
    instance: Number
    incarnation: Number


class _Hello(_Speaker, kw_only=True):
    """What a stage says of itself."""

    process_id: Annotated[int, Meta(ge=0, lt=2**31)]
    token: object = ""


class ControlServer:
    """Accepts stages and clients; ``members`` are the stages that are connected now."""

    def __init__(
        self, token: str, *, on_snapshot: Callable[[Params], None], client_handlers: Mapping[str, Handler]
    ) -> None:
        """``on_snapshot`` takes a report that is its sender's own; raises ControlError or ValidationError to refuse it."""
        self.token = token
        self.credentials = StageCredentials()
        self.refused_reports: Counter[str] = Counter()
        """Who said it -> how many reports, and joinings that would have led to some, were refused."""
        self._on_snapshot = on_snapshot
        self._client_handlers = client_handlers
        self._server: asyncio.Server | None = None
        self._connections: set[Channel] = set()
        self._strangers: set[Channel] = set()
        self.members: dict[tuple[str, int], Member] = {}
        self.changed = asyncio.Event()
        """Set whenever a member joins, becomes ready or leaves."""

    async def start(self) -> str:
        """Listen; returns ``host:port``."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return host_port(*self._server.sockets[0].getsockname()[:2])

    async def stop(self) -> None:
        """Close every connection; stages that are still there end by that. One that does not read is cut soon after."""
        if self._server is not None:
            self._server.close()
        for channel in list(self._connections):
            channel.close()
            asyncio.get_running_loop().call_later(FLUSH_TIMEOUT_S, channel.abort)

    def stage(self, stage: str) -> list[Member]:
        """The connected instances of a stage, by instance number."""
        return [member for (name, _), member in sorted(self.members.items()) if name == stage]

    async def call(self, stage: str, method: str, params: object = None, *, timeout_s: float = 30.0) -> list[Any]:
        """Call every connected instance of a stage; raises ControlError when none is connected."""
        members = self.stage(stage)
        if not members:
            raise ControlError(f"{stage} is not connected to the lab")
        calls = (member.channel.call(method, params, timeout_s=timeout_s) for member in members)
        return list(await asyncio.gather(*calls))

    def notify_all(self, method: str, params: object) -> None:
        """Tell every stage."""
        for member in self.members.values():
            member.channel.notify(method, params)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= CONNECTION_LIMIT or len(self._strangers) >= STRANGER_LIMIT:
            _log.warning(
                "control plane: more than %d connections, or %d without hello; refusing one",
                CONNECTION_LIMIT,
                STRANGER_LIMIT,
            )
            writer.close()
            return
        visitor = _Visitor(self)
        channel = Channel(reader, writer, {"hello": visitor.on_hello}, line_limit=HELLO_LIMIT, lines_left=1)
        visitor.channel = channel
        self._connections.add(channel)
        self._strangers.add(channel)
        timer = asyncio.create_task(self._cut_a_stranger(channel), name="control.hello_timeout")
        try:
            await channel.run()
        finally:
            timer.cancel()
            self._connections.discard(channel)
            self._strangers.discard(channel)
            self._left(visitor.member)

    async def _cut_a_stranger(self, channel: Channel) -> None:
        await asyncio.sleep(HELLO_TIMEOUT_S)
        if channel in self._strangers:
            await asyncio.sleep(LAST_LOOK_S)
        if channel in self._strangers:
            channel.abort()

    def _left(self, member: Member | None) -> None:
        if member is not None and self.members.get((member.stage, member.instance)) is member:
            del self.members[member.stage, member.instance]
            self.changed.set()

    async def greet(self, visitor: _Visitor, params: Params) -> None:
        """Check the token or the credential and open the door that fits; raises ControlError."""
        if visitor.channel not in self._strangers:
            raise ControlError("hello is said once a connection")
        if "stage" in params:
            await self._let_in(visitor, self._checked(params))
            return
        if not self._is_token(params.get("token")):
            raise ControlError("wrong token: read it from the lab's control.json")
        self._open(visitor)
        visitor.channel.add_handlers({"snapshot": visitor.on_clients_snapshot, **self._client_handlers})

    def _is_token(self, said: object) -> bool:
        return hmac.compare_digest(str(said).encode(), self.token.encode())

    def _checked(self, params: Params) -> _Hello:
        """What a stage says, once its credential has shown that it is its own word; raises ControlError."""
        if self._is_token(params.get("token")):
            problem = "control.json opens the door for commands only"
            raise self._refused(CLIENT, f"{problem}; a stage joins with what is in its own STOREFLEET_TOKEN_FILE")
        try:
            hello = msgspec.convert(params, _Hello)
        except msgspec.ValidationError as error:
            raise self._refused(STRANGER, f"hello of a stage: {plain(error)}") from error
        if not self.credentials.opens(str(hello.token), hello.stage, hello.instance):
            wrong = f"wrong token for {hello.stage}-{hello.instance}"
            raise self._refused(STRANGER, f"{wrong}: a stage joins with what is in its own STOREFLEET_TOKEN_FILE")
        return hello

    async def _let_in(self, visitor: _Visitor, hello: _Hello) -> None:
        place = hello.stage, hello.instance
        name = f"{hello.stage}-{hello.instance}"
        await self._until_gone(place, hello.incarnation)
        there = self.members.get(place)
        if there is not None and there.incarnation >= hello.incarnation:
            problem = f"{name} is here already, as incarnation {there.incarnation}"
            raise self._refused(name, f"{problem}: incarnation {hello.incarnation} is not let in beside it")
        if there is not None:
            # It has ended, and what it said last may not have been read yet; if it has not ended, it is over now.
            asyncio.get_running_loop().call_later(FLUSH_TIMEOUT_S, there.channel.abort)
        member = Member(
            stage=hello.stage,
            instance=hello.instance,
            incarnation=hello.incarnation,
            process_id=hello.process_id,
            channel=visitor.channel,
        )
        self._open(visitor)
        visitor.member = member
        self.members[place] = member
        visitor.channel.add_handlers(
            {"ready": visitor.on_ready, "snapshot": visitor.on_snapshot, "goodbye": visitor.on_goodbye}
        )
        self.changed.set()

    async def _until_gone(self, place: tuple[str, int], incarnation: int) -> None:
        """One that was started again by hand has its old number: what is left of the old process may go first."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + GOING_S
        while loop.time() < until_s:
            there = self.members.get(place)
            if there is None or there.incarnation != incarnation:
                return
            await asyncio.sleep(GOING_S / 10)

    def _open(self, visitor: _Visitor) -> None:
        self._strangers.discard(visitor.channel)
        visitor.channel.line_limit = LINE_LIMIT
        visitor.channel.lines_left = math.inf

    def _refused(self, who: str, why: str) -> ControlError:
        """Counted each time, said once."""
        self.refused_reports[who] += 1
        if self.refused_reports[who] == 1:
            _log.warning("control plane: %s: %s; what is refused later is counted only", who, why)
        return ControlError(why)

    async def ask_snapshots(self, stage: str, *, timeout_s: float = 30.0) -> None:
        """Let every connected instance of a stage report in full, now; raises ControlError."""
        members = self.stage(stage)
        if not members:
            raise ControlError(f"{stage} is not connected to the lab")

        async def ask(member: Member) -> None:
            self.take_snapshot(member, await member.channel.call("full_snapshot", timeout_s=timeout_s))

        await asyncio.gather(*map(ask, members))

    def take_snapshot(self, member: Member, params: Params) -> None:
        """Pass a stage's report on; raises ControlError for one in another's name, or that cannot be."""
        own = _Speaker(member.stage, member.instance, member.incarnation)
        name = f"{own.stage}-{own.instance}"
        try:
            said = msgspec.convert(params, _Speaker)
            if said != own:
                other = f"{said.stage}-{said.instance}, incarnation {said.incarnation}"
                raise ControlError(f"it is in the name of {other}")  # noqa: TRY301 - refused like all others
            self._on_snapshot(params)
        except (ControlError, msgspec.MsgspecError, ArithmeticError) as error:
            raise self._refused(name, f"a report is refused: {type(error).__name__}: {error}") from error

    def refuse_clients_snapshot(self) -> ControlError:
        """Commands have nothing to report."""
        return self._refused(CLIENT, "no method 'snapshot' here: only stages report")


class _Visitor:
    """One connection, before and after it said who it is."""

    channel: Channel

    def __init__(self, server: ControlServer) -> None:
        self._server = server
        self.member: Member | None = None

    async def on_hello(self, params: Params) -> dict[str, str]:
        await self._server.greet(self, params)
        return {"welcome": "storefleet"}

    async def on_ready(self, params: Params) -> None:
        if self.member is not None:
            self.member.endpoints = {str(name): str(url) for name, url in params["endpoints"].items()}
            self.member.ready = True
            self._server.changed.set()

    async def on_snapshot(self, params: Params) -> None:
        assert self.member is not None
        self._server.take_snapshot(self.member, params)

    async def on_clients_snapshot(self, _: Params) -> None:
        raise self._server.refuse_clients_snapshot()

    async def on_goodbye(self, _: Params) -> None:
        """The answer tells the stage that everything it sent before has been read."""
