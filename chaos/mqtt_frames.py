"""MQTT frames in a byte stream, sans-io, versions 3.1.1 and 5 alike; no sockets, no copies of what only passes.

``FrameScanner`` keeps just enough to know, at any byte, where the next frame begins; a ``FrameSplitter`` made from it
in mid-stream then cuts whole packets. All input is hostile: only ``read_connect`` raises (BadConnectError), sizes are
bounded, and a stream that is not MQTT turns ``opaque``, which means that its bytes pass untouched from there on.
Source: MQTT 5.0, sections 2.1 (fixed header), 3.1 (CONNECT), 3.2 (CONNACK).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

CONNECT_LIMIT: Final = 64 * 1024
"""Bytes in which a CONNECT must have shown its client id; MQTT 5 properties come before it."""
PACKET_LIMIT: Final = 1024 * 1024
"""Bytes of the largest packet that a splitter gathers; a larger one passes in fragments."""

_INCOMPLETE: Final = 0
_MALFORMED: Final = -1
_CONNECT: Final = 0x10
_CONNACK: Final = 0x20
_PUBLISH: Final = 0x30
_TYPE: Final = 0xF0


class BadConnectError(ValueError):
    """The first bytes of a client are no CONNECT; the message says why."""


class Connect(NamedTuple):
    """What a hop needs of a CONNECT packet; ``level`` is 3, 4 (3.1.1) or 5."""

    client_id: str
    level: int


class Piece(NamedTuple):
    """A part of a stream: one whole packet, or bytes that cannot be seen as one."""

    data: bytes
    whole: bool


def frame_length(data: bytes | bytearray, position: int) -> int:
    """Bytes of the frame that begins at ``position``, header included; 0: not known yet, -1: no frame at all."""
    length = 0
    for index in range(4):
        place = position + 1 + index
        if place >= len(data):
            return _INCOMPLETE
        length |= (data[place] & 0x7F) << (7 * index)
        if data[place] < 0x80:
            return index + 2 + length
    return _MALFORMED


class FrameScanner:
    """Follows a stream from a frame boundary on; ``advance`` is called with every chunk that went by."""

    __slots__ = ("header", "opaque", "remaining")

    def __init__(self) -> None:
        self.header = b""
        """Bytes of a fixed header that is not complete yet (at most 4)."""
        self.remaining = 0
        """Bytes of the current frame still to come, once its header is known."""
        self.opaque = False

    def advance(self, chunk: bytes) -> None:
        """Take note of the next bytes of the stream."""
        size = len(chunk)
        # Nearly every chunk is one small frame: this line is what a bare hop pays.
        if not self.remaining and not self.header and 1 < size < 130 and size == chunk[1] + 2:
            return
        if self.remaining >= size:
            self.remaining -= size
            return
        if not self.opaque:
            self._walk(chunk)

    def _walk(self, chunk: bytes) -> None:
        data = self.header + chunk if self.header else chunk
        position, size = self.remaining, len(data)
        self.remaining, self.header = 0, b""
        while position < size:
            # Short and middling frames inline: this loop runs for every chunk of a bare hop.
            if position + 2 < size:
                low, high = data[position + 1], data[position + 2]
                if low < 0x80:
                    position += low + 2
                    continue
                if high < 0x80:
                    position += (low & 0x7F) + (high << 7) + 3
                    continue
            length = frame_length(data, position)
            if length == _MALFORMED:
                self.opaque = True
                return
            if length == _INCOMPLETE:
                self.header = data[position:]
                return
            position += length
        self.remaining = position - size


class PublishCounter(FrameScanner):
    """A scanner that tells how many PUBLISH packets have begun in every chunk, once their length is known."""

    __slots__ = ("_on_publishes",)

    def __init__(self, on_publishes: Callable[[int], None]) -> None:
        super().__init__()
        self._on_publishes = on_publishes

    def advance(self, chunk: bytes) -> None:
        """Take note of the next bytes of the stream, frame by frame."""
        if self.remaining >= len(chunk):
            self.remaining -= len(chunk)
        elif not self.opaque:
            self._count(self.header + chunk)

    def _count(self, data: bytes) -> None:
        position, size, publishes = self.remaining, len(data), 0
        self.remaining, self.header = 0, b""
        while position < size:
            length = frame_length(data, position)
            if length <= 0:
                self.opaque = length == _MALFORMED
                self.header = b"" if self.opaque else data[position:]
                position = size
                break
            publishes += data[position] & _TYPE == _PUBLISH
            position += length
        self.remaining = position - size
        if publishes:
            self._on_publishes(publishes)


class FrameSplitter:
    """Cuts the bytes that follow a scanner's position into whole packets.

    The rest of a frame that had begun before passes as fragments, so do packets above ``PACKET_LIMIT`` and everything
    on an opaque stream. The data of all pieces, joined, and ``rest()`` are always exactly what was put in.
    """

    __slots__ = ("_gathered", "_passed", "_skipping", "opaque")

    def __init__(self, scanner: FrameScanner) -> None:
        self._gathered = bytearray(scanner.header)
        self._passed = len(scanner.header)
        self._skipping = scanner.remaining
        self.opaque = scanner.opaque

    def split(self, chunk: bytes) -> list[Piece]:
        """The pieces that these bytes complete."""
        self._gathered += chunk
        pieces: list[Piece] = []
        position = 0
        while position < len(self._gathered):
            end = self._fragment_end(position) if self.opaque or self._skipping else 0
            if end:
                pieces.append(Piece(bytes(self._gathered[position:end]), whole=False))
                position = end
                continue
            length = frame_length(self._gathered, position)
            if length == _INCOMPLETE:
                break
            if length == _MALFORMED or self._passed or length > PACKET_LIMIT:
                self.opaque = length == _MALFORMED
                self._skipping = max(0, length - self._passed)
                position += self._passed
                self._passed = 0
                continue
            if position + length > len(self._gathered):
                break
            pieces.append(Piece(bytes(self._gathered[position : position + length]), whole=True))
            position += length
        del self._gathered[:position]
        return pieces

    def rest(self) -> bytes:
        """What was put in and has not come out: the beginning of a packet. The splitter is at its end after this."""
        data = bytes(self._gathered[self._passed :])
        self._gathered.clear()
        self._passed = 0
        return data

    def _fragment_end(self, position: int) -> int:
        size = len(self._gathered)
        if self.opaque:
            return size
        end = min(size, position + self._skipping)
        self._skipping -= end - position
        return end


def read_connect(data: bytes | bytearray) -> Connect | None:
    """Read the client id from the first bytes of a client; None when more are needed. Raises BadConnectError."""
    if not data:
        return None
    if data[0] != _CONNECT:
        raise BadConnectError(f"the first byte is 0x{data[0]:02x}, not a CONNECT")
    length = frame_length(data, 0)
    if length == _MALFORMED:
        raise BadConnectError("its remaining length has more than four bytes")
    if length == _INCOMPLETE:
        return None
    fields = _Fields(data, _header_size(data), length)
    try:
        return _read_fields(fields)
    except _NeedMoreError:
        if len(data) >= CONNECT_LIMIT:
            raise BadConnectError(f"no client id within {CONNECT_LIMIT} bytes") from None
        return None


def read_connack(data: bytes) -> int | None:
    """Reason code (MQTT 5) or return code (3.1.1) of the server's first frame; None: too few bytes, -1: no CONNACK."""
    if not data:
        return None
    if data[0] != _CONNACK:
        return -1
    length = frame_length(data, 0)
    if length == _MALFORMED or 0 < length < 4:
        return -1
    place = _header_size(data) + 1
    return data[place] if length and place < len(data) else None


class _NeedMoreError(Exception):
    pass


class _Fields:
    """Reads the fields of one packet of ``end`` bytes, of which a part may not have come yet."""

    def __init__(self, data: bytes | bytearray, position: int, end: int) -> None:
        self._data = data
        self._position = position
        self._end = end

    def take(self, count: int) -> bytes | bytearray:
        begin, self._position = self._position, self._position + count
        if self._position > self._end:
            raise BadConnectError("a field reaches beyond the end of the packet")
        if self._position > len(self._data):
            raise _NeedMoreError
        return self._data[begin : self._position]

    def text(self) -> bytes | bytearray:
        return self.take(int.from_bytes(self.take(2), "big"))

    def variable_integer(self) -> int:
        value = 0
        for index in range(4):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                return value
        raise BadConnectError("its property length has more than four bytes")


def _read_fields(fields: _Fields) -> Connect:
    name = fields.text()
    level = fields.take(1)[0] & 0x7F  # the high bit marks a bridge (Mosquitto)
    if (bytes(name), level) not in ((b"MQTT", 4), (b"MQTT", 5), (b"MQIsdp", 3)):
        raise BadConnectError(f"protocol {name[:20]!r} level {level} is unknown")
    fields.take(3)  # connect flags, keep alive
    if level == 5:
        fields.take(fields.variable_integer())
    try:
        return Connect(fields.text().decode(), level)
    except UnicodeDecodeError:
        raise BadConnectError("its client id is not UTF-8") from None


def _header_size(data: bytes | bytearray) -> int:
    return next(index + 2 for index in range(4) if data[1 + index] < 0x80)
