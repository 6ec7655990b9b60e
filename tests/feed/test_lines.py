"""The feed's bytes as values: cut anywhere, too long, or hostile."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.feed.lines import Change, CutLine, Line, LineSplitter, Mark, Unusable, last_sequence, read_line

LINE = b'{"seq":7,"id":"a.b.c.d.1","changes":[{"rev":"1-abc"}],"doc":{"_id":"a.b.c.d.1","n":1}}'


@given(st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=20), st.data())
def test_lines_are_the_same_however_the_stream_is_cut(lines: list[bytes], data: st.DataObject) -> None:
    """Chunks of any size give the same lines."""
    stream = b"".join(line + b"\n" for line in lines)
    splitter, found, at = LineSplitter(), list[Line](), 0
    while at < len(stream):
        size = data.draw(st.integers(1, len(stream) - at))
        found += splitter.split(stream[at : at + size])
        at += size
    assert found == lines


@given(st.integers(1, 50))
def test_a_line_beyond_the_limit_is_dropped_and_the_next_one_is_read(size: int) -> None:
    """Memory stays bounded, its beginning is given out once, and the feed goes on."""
    splitter, found = LineSplitter(limit=100), list[Line]()
    stream = b"first\n" + b"x" * 1_000 + b"\nlast\n"
    for start in range(0, len(stream), size):
        found += splitter.split(stream[start : start + size])
    first, cut, last = found
    assert (first, last) == (b"first", b"last")
    assert isinstance(cut, CutLine)
    assert cut.beginning.startswith(b"x" * 101)


def test_several_lines_beyond_the_limit_in_one_chunk_are_cut_each() -> None:
    """Each in its place among the others, the last one before its end has come."""
    splitter = LineSplitter(limit=10)
    a, b, c = (CutLine(letter * 11, 10) for letter in (b"a", b"b", b"c"))
    assert splitter.split(b"a" * 11 + b"\nok\n" + b"b" * 11 + b"\nalso\n" + b"c" * 11) == [a, b"ok", b, b"also", c]
    assert splitter.split(b"c\nend\n") == [b"end"]


def test_what_is_kept_of_a_line_beyond_the_limit_is_short() -> None:
    """Whether it came whole or in pieces."""
    whole = LineSplitter(limit=5_000).split(b"x" * 9_000 + b"\n")
    pieces = LineSplitter(limit=5_000).split(b"x" * 9_000)
    assert whole == pieces == [CutLine(b"x" * 2_048, 5_000)]


@pytest.mark.parametrize(
    ("beginning", "sequence", "document_id"),
    [
        (b'{"seq":7,"id":"a.b.c.d.1","changes":[', "7", "a.b.c.d.1"),
        (b' { "seq" : "5::9" , "id" : "\\u0061\\"b" ,"doc":', "5::9", 'a"b'),
        (b'{"id":"a.b.c.d.1","seq":7', "", ""),
        (b'{"seq":7,"id":"a.b.c', "", ""),
        (b'{"seq":7,"id":"' + b"a" * 251 + b'"', "", ""),
        (b'{"seq":' + b"9" * 2_000 + b',"id":"a"', "", ""),
        (b'{"seq":7,"id":"\xff"', "", ""),
        (b"x" * 2_048, "", ""),
    ],
)
def test_a_line_beyond_the_limit_is_unusable_under_the_id_at_its_beginning(
    beginning: bytes, sequence: str, document_id: str
) -> None:
    """So its event can be rejected by name; without a readable beginning it is unusable all the same."""
    assert read_line(CutLine(beginning, 100)) == Unusable(
        sequence, document_id, "", "oversized", "a line of the feed is longer than 100 bytes", beginning
    )


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"seq":7,"id":"a.b.c.d.1","changes":[{"rev":"1-a"}],"doc":{"_id":"a.b.c.d.1",', "malformed_json"),
        (b'{"seq":7,"id":"a.b.c.d.1","changes":[{"rev":"1-a"}],"doc":{"n":NaN}}', "malformed_json"),
        (b'{"seq":7,"id":"a.b.c.d.1","changes":{}}', "schema"),
        (b'{"seq":7,"id":"a.b.c.d.1","changes":[{"rev":1}],"doc":{}}', "schema"),
    ],
)
def test_a_line_that_cannot_be_read_is_unusable_under_the_id_at_its_beginning(line: bytes, reason: str) -> None:
    """Its event is rejected by name, and the checkpoint gets past it; a pseudo entry is a mark all the same."""
    entry = read_line(line)
    assert isinstance(entry, Unusable)
    assert (entry.sequence, entry.id, entry.reason, entry.line) == ("7", "a.b.c.d.1", reason, line)
    assert last_sequence([entry]) == "7"
    assert read_line(line.replace(b"a.b.c", b"_user/c")) == Mark("7")


def test_a_pseudo_entry_beyond_the_limit_is_a_mark() -> None:
    """As it is below the limit."""
    assert read_line(CutLine(b'{"seq":9,"id":"_user/poseidon","x', 100)) == Mark("9")


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
