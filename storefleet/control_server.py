"""The lab's end of the control plane: stages join it, commands come to it; both must say the token first.

Bound to loopback. A connection that does not say ``hello`` with the right token within five seconds is cut, whether or
not it reads what it was told, and until then it may say one line of at most HELLO_LIMIT bytes; at most STRANGER_LIMIT
connections are in that state.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fleetwire.control import HELLO_LIMIT, LINE_LIMIT, Channel, Handler, Params
from fleetwire.errors import ControlError

HELLO_TIMEOUT_S: Final = 5.0
LAST_LOOK_S: Final = 0.5
"""After a stall of ours a hello may have come in time and not be read yet: it has so long to be."""
FLUSH_TIMEOUT_S: Final = 2.0
"""How long a connection has at the end to take what was written to it."""
CONNECTION_LIMIT: Final = 200
STRANGER_LIMIT: Final = 50

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


class ControlServer:
    """Accepts stages and clients; ``members`` are the stages that are connected now."""

    def __init__(
        self, token: str, *, on_snapshot: Callable[[Params], None], client_handlers: Mapping[str, Handler]
    ) -> None:
        self.token = token
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
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

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

    def greet(self, visitor: _Visitor, params: Params) -> None:
        """Check the token and open the door that fits; raises ControlError."""
        if not hmac.compare_digest(str(params.get("token", "")).encode(), self.token.encode()):
            raise ControlError("wrong token: read it from the lab's control.json")
        assert visitor.channel is not None
        self._strangers.discard(visitor.channel)
        visitor.channel.line_limit = LINE_LIMIT
        visitor.channel.lines_left = math.inf
        if "stage" not in params:
            visitor.channel.add_handlers(self._client_handlers)
            return
        member = Member(
            stage=str(params["stage"]),
            instance=int(params["instance"]),
            incarnation=int(params["incarnation"]),
            process_id=int(params["process_id"]),
            channel=visitor.channel,
        )
        visitor.member = member
        self.members[member.stage, member.instance] = member
        visitor.channel.add_handlers(
            {"ready": visitor.on_ready, "snapshot": visitor.on_snapshot, "goodbye": visitor.on_goodbye}
        )
        self.changed.set()

    def take_snapshot(self, params: Params) -> None:
        """Pass a stage's snapshot on."""
        self._on_snapshot(params)


class _Visitor:
    """One connection, before and after it said who it is."""

    def __init__(self, server: ControlServer) -> None:
        self._server = server
        self.channel: Channel | None = None
        self.member: Member | None = None

    async def on_hello(self, params: Params) -> dict[str, str]:
        self._server.greet(self, params)
        return {"welcome": "storefleet"}

    async def on_ready(self, params: Params) -> None:
        if self.member is not None:
            self.member.endpoints = {str(name): str(url) for name, url in params["endpoints"].items()}
            self.member.ready = True
            self._server.changed.set()

    async def on_snapshot(self, params: Params) -> None:
        self._server.take_snapshot(params)

    async def on_goodbye(self, _: Params) -> None:
        """The answer tells the stage that everything it sent before has been read."""
