"""The feed's bytes as values: cut anywhere, too long, or hostile."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.feed.lines import Change, LineSplitter, Mark, Unusable, last_sequence, read_line

LINE = b'{"seq":7,"id":"a.b.c.d.1","changes":[{"rev":"1-abc"}],"doc":{"_id":"a.b.c.d.1","n":1}}'


@given(st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=20), st.data())
def test_lines_are_the_same_however_the_stream_is_cut(lines: list[bytes], data: st.DataObject) -> None:
    """Chunks of any size give the same lines."""
    stream = b"".join(line + b"\n" for line in lines)
    splitter, found, at = LineSplitter(), [], 0
    while at < len(stream):
        size = data.draw(st.integers(1, len(stream) - at))
        found += splitter.split(stream[at : at + size])
        at += size
    assert found == lines


@given(st.integers(1, 50))
def test_a_line_beyond_the_limit_is_dropped_and_the_next_one_is_read(size: int) -> None:
    """Memory stays bounded, the drop is counted once, and the feed goes on."""
    splitter, found = LineSplitter(limit=100), []
    stream = b"first\n" + b"x" * 1_000 + b"\nlast\n"
    for start in range(0, len(stream), size):
        found += splitter.split(stream[start : start + size])
    assert found == [b"first", b"last"]
    assert splitter.oversized == 1


def test_several_lines_beyond_the_limit_in_one_chunk_are_counted_each() -> None:
    """Whole oversized lines are dropped too."""
    splitter = LineSplitter(limit=10)
    assert splitter.split(b"a" * 11 + b"\nok\n" + b"b" * 11 + b"\nalso\n" + b"c" * 11) == [b"ok", b"also"]
    assert splitter.split(b"c\nend\n") == [b"end"]
    assert splitter.oversized == 3


def test_an_unfinished_line_is_never_given_out() -> None:
    """What the connection cut off is not a line."""
    splitter = LineSplitter()
    assert splitter.split(LINE) == []


def test_a_change_keeps_its_sequence_as_opaque_text() -> None:
    """Compound sequences and plain numbers come back exactly as the gateway wrote them."""
    assert read_line(LINE)[:4] == ("7", "a.b.c.d.1", "1-abc", False)
    compound = read_line(LINE.replace(b'"seq":7', b'"seq":"5::9"'))
    assert isinstance(compound, Change)
    assert compound.sequence == "5::9"


def test_marks_and_pseudo_entries_move_nothing_but_the_checkpoint() -> None:
    """Heartbeats, last_seq and user entries are no changes."""
    assert read_line(b"") == Mark("") == read_line(b"\r")
    assert read_line(b'{"last_seq":"12"}') == Mark("12")
    assert read_line(b'{"seq":9,"id":"_user/poseidon","changes":[]}') == Mark("9")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"seq":7,"id":"a', "malformed_json"),
        (b"\xff\xfe", "malformed_json"),
        (b'{"doc":' + b"[" * 100_000, "malformed_json"),
        (b"[]", "schema"),
        (b"null", "schema"),
        (b'{"error":"Service Unavailable","reason":"x"}', "schema"),
        (b'{"seq":7,"changes":[{"rev":"1-a"}],"doc":{}}', "schema"),
        (b'{"seq":7,"id":"x","changes":[],"doc":{}}', "schema"),
        (b'{"seq":7,"id":"x","changes":[{"rev":"1-a"}]}', "schema"),
        (b'{"seq":1.5,"id":"x","changes":[{"rev":"1-a"}],"doc":{}}', "schema"),
        (b'{"seq":7,"id":"' + b"x" * 300 + b'","changes":[{"rev":"1-a"}],"doc":{}}', "schema"),
        (b'{"seq":"' + b"1" * 300 + b'","id":"x","changes":[{"rev":"1-a"}],"doc":{}}', "schema"),
    ],
)
def test_a_hostile_line_is_unusable_with_a_reason(line: bytes, reason: str) -> None:
    """Nothing that a peer sends raises, and what is kept of it is short."""
    entry = read_line(line)
    assert isinstance(entry, Unusable)
    assert entry.reason == reason
    assert len(entry.line) <= 2_048
    assert len(entry.id) <= 250
    assert len(entry.sequence) <= 250


@given(st.binary(max_size=300))
def test_no_bytes_whatsoever_raise(line: bytes) -> None:
    """Every line is one of the three values."""
    assert isinstance(read_line(line), Change | Mark | Unusable)


def test_the_checkpoint_is_the_last_sequence_that_is_named() -> None:
    """An unusable line without a sequence does not hide the one before it."""
    entries = [read_line(LINE), read_line(b"{"), read_line(b"")]
    assert last_sequence(entries) == "7"
    assert last_sequence([read_line(b"")]) == ""
