"""The frame scanner, the splitter and the two hand parsers, without any socket."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.mqtt_frames import (
    CONNECT_LIMIT,
    PACKET_LIMIT,
    BadConnectError,
    Connect,
    FrameScanner,
    FrameSplitter,
    PublishCounter,
    frame_length,
    read_connack,
    read_connect,
)
from tests.chaos.peers import connect_frame, publish_frame, variable_integer

BODIES = st.lists(
    st.one_of(st.binary(max_size=5), st.integers(120, 140).map(bytes), st.integers(16_380, 16_390).map(bytes)),
    min_size=1,
    max_size=12,
)
STREAM = [publish_frame(bytes(size)) for size in (0, 1, 125, 127, 128, 129, 300, 2, 16_383, 16_384, 0)]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The data in chunks that end at these places."""
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[begin:end] for begin, end in pairwise(edges) if begin < end]


@pytest.mark.parametrize(
    ("data", "length"),
    [
        (b"\x30", 0),
        (b"\x30\x00", 2),
        (b"\x30\x7f", 129),
        (b"\x30\x80", 0),
        (b"\x30\x80\x01", 131),
        (b"\x30\xff\xff\xff\x7f", 268_435_455 + 5),
        (b"\x30\xff\xff\xff\x80", -1),
    ],
)
def test_frame_length(data: bytes, length: int) -> None:
    """A fixed header gives the frame's length, asks for more, or is malformed."""
    assert frame_length(data, 0) == length


def test_scanner_knows_the_boundary_at_every_split_point() -> None:
    """Wherever a stream is cut in two, the scanner says how much of the current frame is missing."""
    stream = b"".join(STREAM[:8])
    ends = [sum(map(len, STREAM[: count + 1])) for count in range(8)]
    for place in range(1, len(stream)):
        scanner = FrameScanner()
        scanner.advance(stream[:place])
        end = next(end for end in ends if end >= place)
        begun = stream[max((other for other in ends if other < place), default=0) : place]
        assert scanner.remaining == end - place or scanner.header == begun, place
        scanner.advance(stream[place:])
        assert (scanner.remaining, scanner.header, scanner.opaque) == (0, b"", False), place


@given(BODIES, st.lists(st.integers(0, 2**20)), st.integers(0, 2**20))
def test_splitter_attached_anywhere_loses_no_byte(bodies: list[bytes], places: list[int], attach: int) -> None:
    """Attached in mid-stream, a splitter gives back exactly the bytes it got, whole packets as such."""
    frames = [publish_frame(body) for body in bodies]
    stream = b"".join(frames)
    chunks = cut(stream, places)
    scanner = FrameScanner()
    before = attach % (len(chunks) + 1)
    for chunk in chunks[:before]:
        scanner.advance(chunk)
    splitter = FrameSplitter(scanner)
    pieces = [piece for chunk in chunks[before:] for piece in splitter.split(chunk)]
    after = b"".join(chunks[before:])
    assert b"".join(piece.data for piece in pieces) + splitter.rest() == after
    whole = [piece.data for piece in pieces if piece.whole]
    assert whole == (frames[len(frames) - len(whole) :] if whole else [])
    begun_before = sum(map(len, chunks[:before]))
    starts = [sum(map(len, frames[:index])) for index in range(len(frames))]
    assert len(whole) == sum(start >= begun_before for start in starts)


@given(st.binary(max_size=300), st.lists(st.integers(0, 300)))
def test_splitter_passes_any_bytes(data: bytes, places: list[int]) -> None:
    """Bytes that are no MQTT come out as they went in."""
    splitter, scanner = FrameSplitter(FrameScanner()), FrameScanner()
    out = b""
    for chunk in cut(data, places):
        scanner.advance(chunk)
        out += b"".join(piece.data for piece in splitter.split(chunk))
    assert out + splitter.rest() == data
    assert scanner.opaque == splitter.opaque


PUBACK = b"\x40\x02\x00\x01"


@given(
    st.lists(st.one_of(BODIES.map(lambda bodies: publish_frame(bodies[0])), st.just(PUBACK))), st.lists(st.integers(0))
)
def test_publishes_are_counted_once_however_they_are_cut(frames: list[bytes], places: list[int]) -> None:
    """Each PUBLISH packet once, nothing else, and the scanner knows as much of the stream as any."""
    told: list[int] = []
    counter, scanner = PublishCounter(told.append), FrameScanner()
    for chunk in cut(b"".join(frames), places):
        counter.advance(chunk)
        scanner.advance(chunk)
        assert (counter.remaining, counter.header, counter.opaque) == (scanner.remaining, scanner.header, False)
    assert sum(told) == sum(frame[0] == 0x30 for frame in frames)


@given(st.binary(max_size=300), st.lists(st.integers(0, 300)))
def test_a_counter_follows_any_bytes(data: bytes, places: list[int]) -> None:
    """What is no MQTT is opaque to it at the same place as to any scanner."""
    counter, scanner = PublishCounter(lambda _: None), FrameScanner()
    for chunk in cut(data, places):
        counter.advance(chunk)
        scanner.advance(chunk)
        assert counter.opaque == scanner.opaque


def test_splitter_does_not_gather_a_huge_packet() -> None:
    """A packet above the limit passes in fragments at once, the one behind it is whole again."""
    splitter = FrameSplitter(FrameScanner())
    huge, small = publish_frame(bytes(PACKET_LIMIT)), publish_frame(b"x")
    first = splitter.split(huge[:100])
    assert [piece.whole for piece in first] == [False]
    rest = splitter.split(huge[100:] + small)
    assert [piece.whole for piece in rest] == [False, True]
    assert first[0].data + rest[0].data == huge


@pytest.mark.parametrize("level", [3, 4, 5])
@pytest.mark.parametrize("client_id", ["", "taco.west.s0042.r01", "köln", "x" * 300])
def test_connect_is_read_at_the_first_byte_possible(level: int, client_id: str) -> None:
    """A CONNECT shows its client id when the last byte of it has come, at every split before that it asks for more."""
    frame = connect_frame(
        client_id, level=4 if level == 3 else level, properties=b"\x11\x00\x00\x00\x3c" * (level == 5)
    )
    if level == 3:
        body = b"\x00\x06MQIsdp\x03\x02\x00\x3c" + len(client_id.encode()).to_bytes(2, "big") + client_id.encode()
        frame = b"\x10" + variable_integer(len(body)) + body
    for size in range(len(frame)):
        assert read_connect(frame[:size]) is None, size
    assert read_connect(frame + b"more") == Connect(client_id, level)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01",
        b"\x10\xff\xff\xff\xff",
        b"\x10\x04\x00\x04MQ",
        b"\x10\x10\x00\x04HTTP\x05\x02\x00\x3c\x00\x00\x03abc",
        b"\x10\x10\x00\x04MQTT\x09\x02\x00\x3c\x00\x00\x03abc",
        b"\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x04abcd",
        b"\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x03\xff\xfe\xfd",
        b"\x10\x13\x00\x04MQTT\x05\x02\x00\x3c\xff\xff\xff\xff\x00\x03abc",
    ],
)
def test_hostile_connect_is_refused(data: bytes) -> None:
    """What is no CONNECT is said to be none, never guessed at."""
    with pytest.raises(BadConnectError):
        read_connect(data)


def test_connect_without_end_is_refused() -> None:
    """Properties without end do not make the hop gather without end."""
    frame = connect_frame("late", properties=bytes(CONNECT_LIMIT + 10))
    assert read_connect(frame[: CONNECT_LIMIT - 1]) is None
    with pytest.raises(BadConnectError, match="within"):
        read_connect(frame[:CONNECT_LIMIT])


@given(st.binary(max_size=200))
def test_parsers_survive_any_bytes(data: bytes) -> None:
    """Any bytes give an answer or a BadConnectError."""
    read_connack(data)
    try:
        read_connect(b"\x10" + data)
    except BadConnectError:
        return


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", None),
        (b"\x20\x02", None),
        (b"\x20\x02\x00\x00", 0),
        (b"\x20\x02\x00\x05", 5),
        (b"\x20\x09\x00\x87\x06\x22\x00\x0a", 0x87),
        (b"\x20\x85\x01\x00\x97", 0x97),
        (b"\x20\x01\x00\x00", -1),
        (b"\x20\xff\xff\xff\xff\x00", -1),
        (b"\x30\x02\x00\x00", -1),
    ],
)
def test_connack_reason(data: bytes, reason: int | None) -> None:
    """The reason code of a CONNACK is read in both versions; anything else is no CONNACK."""
    assert read_connack(data) == reason
