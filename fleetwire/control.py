"""The control plane's wire: JSON-RPC 2.0, one object a line, over TCP, both ends may call.

It is a plane of its own: it never crosses a hop proxy, and it begins with ``hello`` and the lab's token. Until the lab
has answered ``hello`` it reads one line of at most 64 KiB, and a second one ends the connection. A line is at most
96 MiB, in both directions: a longer one is not sent, and ends the connection over which it comes. At most 1,000 calls
wait for their answers. When the connection ends, every waiting call fails with a ControlError that is not definite,
because the peer may have done what was asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from fleetwire import bounded_json
from fleetwire.dialling import Dialler
from fleetwire.errors import ControlError, FleetError
from fleetwire.host_port import host_port

LINE_LIMIT: Final = 96 * 1024 * 1024
HELLO_LIMIT: Final = 64 * 1024
"""What a line may have before its sender has said the token."""
WAITING_LIMIT: Final = 1_000
_READ_BYTES: Final = 256 * 1024
_CALL_FAILED: Final = -32000
_NO_SUCH_METHOD: Final = -32601

Params = dict[str, Any]
Handler = Callable[[Params], Awaitable[Any]]
"""Takes the call's params; what it returns is the result. A FleetError becomes the call's error, text and all."""

_log = logging.getLogger(__name__)


class _Failure(Struct):
    code: int
    message: str


class _Line(Struct, omit_defaults=True):
    """Any JSON-RPC object: a call or notification (method), or an answer (result or error)."""

    jsonrpc: str = ""
    id: int | None = None
    method: str | None = None
    params: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: _Failure | UnsetType = UNSET


_encoder = msgspec.json.Encoder()
_decoder = bounded_json.Decoder(_Line)


class Channel:
    """One control connection. ``await run()`` reads until it ends; calls and notifications may go out meanwhile."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        handlers: Mapping[str, Handler],
        *,
        line_limit: int = LINE_LIMIT,
        lines_left: float = math.inf,
    ) -> None:
        """``line_limit``: bytes of the longest line that is read, ``lines_left``: how many more are read at all.

        Both may be set anew at any time.
        """
        self.line_limit = line_limit
        self.lines_left = lines_left
        self._reader = reader
        self._writer = writer
        self._handlers = dict(handlers)
        self._waiting: dict[int, asyncio.Future[Raw]] = {}
        self._next_id = 1
        self._running: set[asyncio.Task[None]] = set()

    def add_handlers(self, handlers: Mapping[str, Handler]) -> None:
        """Answer these methods too; used after ``hello`` opened the door."""
        self._handlers.update(handlers)

    async def run(self) -> None:
        """Serve until the peer closes or breaks the protocol; never raises for what the peer does."""
        try:
            async for line in self._lines():
                self._receive(line)
        except (OSError, ValueError, msgspec.DecodeError) as error:
            _log.info("control connection ended: %s", error)
        finally:
            self._end()

    async def call(self, method: str, params: object = None, *, timeout_s: float = 30.0) -> Any:
        """Call the peer and wait for its result, as plain JSON values; raises ControlError."""
        if self._writer.is_closing():
            raise ControlError(f"{method}: the control connection is closed")
        if len(self._waiting) >= WAITING_LIMIT:
            raise ControlError(f"{method}: {WAITING_LIMIT} calls wait for an answer already")
        number = self._next_id
        self._next_id += 1
        future: asyncio.Future[Raw] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            self._send({"jsonrpc": "2.0", "id": number, "method": method, "params": {} if params is None else params})
            async with asyncio.timeout(timeout_s):
                return bounded_json.decode(await future)
        except TimeoutError as error:
            raise ControlError(f"{method}: no answer within {timeout_s:g} s", definite=False) from error
        finally:
            self._waiting.pop(number, None)

    def notify(self, method: str, params: object) -> None:
        """Tell the peer, without an answer; does nothing on a closed connection. Raises ControlError when too long."""
        if not self._writer.is_closing():
            self._send({"jsonrpc": "2.0", "method": method, "params": params})

    def close(self) -> None:
        """End the connection once what we wrote has gone out; ``run`` returns then. A peer may never read it."""
        self._writer.close()

    def abort(self) -> None:
        """End the connection at once, whatever the peer has not read; ``run`` returns."""
        self._writer.transport.abort()

    @property
    def unsent_bytes(self) -> int:
        """What waits in our buffer because the peer does not read."""
        return self._writer.transport.get_write_buffer_size()

    async def _lines(self) -> AsyncIterator[bytes]:
        """Lines without their ends, until the peer closes; raises ValueError for one that is too long."""
        held = bytearray()
        while chunk := await self._reader.read(_READ_BYTES):
            *ends, rest = chunk.split(b"\n")
            for end in ends:
                held += end
                self._check_length(len(held))
                line = bytes(held)
                held.clear()
                yield line
            held += rest
            self._check_length(len(held))

    def _check_length(self, length: int) -> None:
        if length > self.line_limit:
            raise ValueError(f"a line of more than {self.line_limit} bytes")

    def _send(self, message: object) -> None:
        line = _encoder.encode(message)
        if len(line) > LINE_LIMIT:
            raise ControlError(f"{len(line):,} bytes do not fit into a control line of at most {LINE_LIMIT:,}")
        self._writer.write(line + b"\n")

    def _receive(self, line: bytes) -> None:
        self.lines_left -= 1
        if self.lines_left < 0:
            raise ValueError("a line more than may come before hello is answered")
        message = _decoder.decode(line)
        if message.method is None:
            self._answered(message)
            return
        params = bounded_json.decode(message.params) if message.params is not UNSET else {}
        if not isinstance(params, dict):
            raise ValueError("params of a control call must be an object")  # noqa: TRY004 - a value from the network
        task = asyncio.create_task(self._serve(message.method, params, message.id), name=f"control.{message.method}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _answered(self, message: _Line) -> None:
        future = self._waiting.get(message.id) if message.id is not None else None
        if future is None or future.done():
            return
        if message.error is not UNSET:
            future.set_exception(ControlError(message.error.message))
        else:
            future.set_result(message.result if message.result is not UNSET else Raw(b"null"))

    async def _serve(self, method: str, params: Params, number: int | None) -> None:
        answer: dict[str, object] = {"jsonrpc": "2.0", "id": number}
        handler = self._handlers.get(method)
        if handler is None:
            answer["error"] = {"code": _NO_SUCH_METHOD, "message": f"no method {method[:100]!r} here"}
        else:
            try:
                answer["result"] = Raw(_encoder.encode(await handler(params)))
            except FleetError as error:
                answer["error"] = {"code": _CALL_FAILED, "message": str(error)}
            except Exception as error:  # noqa: BLE001 - a handler's bug must not end the plane that reports it
                _log.exception("control method %s failed", method)
                answer["error"] = {"code": _CALL_FAILED, "message": f"{type(error).__name__}: {error}"}
        if number is not None and not self._writer.is_closing():
            try:
                self._send(answer)
            except ControlError as error:
                failure = {"code": _CALL_FAILED, "message": f"the answer to {method[:100]}: {error}"}
                self._send({"jsonrpc": "2.0", "id": number, "error": failure})

    def _end(self) -> None:
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ControlError("the control connection ended before the answer", definite=False))
        for task in self._running:
            task.cancel()
        with contextlib.suppress(OSError, RuntimeError):
            self._writer.close()


async def connect(address: tuple[str, int], handlers: Mapping[str, Handler], *, timeout_s: float = 5.0) -> Channel:
    """Open a control connection; the caller runs it and says ``hello`` first. Raises ControlError."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(sock=await Dialler(*address).connect())
    except (OSError, TimeoutError, UnicodeError) as error:
        raise ControlError(f"control plane at {host_port(*address)}: {error or 'no answer'}") from error
    return Channel(reader, writer, handlers)
