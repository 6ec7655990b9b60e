"""The log of a run as it is read: what it tells in order, and nothing that it cannot have told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from storefleet.verdict import log_file
from storefleet.verdict.log_file import KINDS, LOG_FILE_NAME, Happening, is_about_trouble, read_log

HEADER = b'{"format":"storefleet-log","version":1,"run":"lab","started_at_ms":1000}\n'
PHASE = b'{"at_ms":1000,"kind":"phase","who":"lab","text":"trading"}\n'
TRADING = Happening(at_ms=1000, kind="phase", who="lab", text="trading")


def told(folder: Path, content: bytes) -> list[Happening]:
    """What a log with this content tells."""
    (folder / LOG_FILE_NAME).write_bytes(content)
    return read_log(folder / LOG_FILE_NAME)


def line(**values: object) -> bytes:
    """A line of a log."""
    return json.dumps({"at_ms": 1000, "kind": "phase", **values}).encode() + b"\n"


@pytest.mark.parametrize(
    "broken",
    [
        b"{\n", b"[]\n", b"\xff\n", b"\n", b'{"at_ms":1}\n', line(kind="party"), line(at_ms=0), line(at_ms=-5),
        line(at_ms=10**18), line(at_ms="now"), line(who=7), b"[" * 5_000 + b"\n", line(text="x" * 20_000), HEADER,
        line(text="x" * (log_file.LINE_LIMIT_BYTES - 50)).rstrip() + PHASE,
    ],
    ids=range(15),
)  # fmt: skip
def test_a_line_that_cannot_be_is_skipped(tmp_path: Path, broken: bytes) -> None:
    """Whatever stands in it, the lines before and behind it are read."""
    assert told(tmp_path, HEADER + PHASE + broken + PHASE) == [TRADING, TRADING]


def test_a_torn_line_says_nothing(tmp_path: Path) -> None:
    """A death cuts off the last line, wherever."""
    for length in range(len(PHASE)):
        assert told(tmp_path, HEADER + PHASE + PHASE[:length]) == [TRADING]


@pytest.mark.parametrize(
    "content", [b"", PHASE, HEADER.replace(b"-log", b"-run"), HEADER.replace(b":1,", b":2,"), b"\xff", b"[" * 9_000]
)
def test_what_is_no_log_of_ours_tells_nothing(tmp_path: Path, content: bytes) -> None:
    """Another format, a newer version, no header, no file."""
    assert told(tmp_path, content + PHASE) == []
    assert read_log(tmp_path / "missing") == []


def test_what_is_read_is_one_printable_line_each(tmp_path: Path) -> None:
    """Control characters of a terminal do nothing, and nothing is longer than it may be."""
    (found,) = told(tmp_path, HEADER + line(who="a\x1b[2J", text="one\ntwo\x07" + "x" * 1_000))
    assert (found.who, found.text[:9]) == ("a?[2J", "one two?x")
    assert len(found.text) == log_file.TEXT_CHARACTERS


def test_what_is_read_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a log that somebody has made endless, the beginning is read."""
    monkeypatch.setattr(log_file, "READ_LIMIT", 3)
    assert told(tmp_path, HEADER + PHASE * 5) == [TRADING] * 3


def test_every_end_ends_a_trouble() -> None:
    """What is asked for by --troubles is bad news and its end, and nothing else."""
    about = {kind for kind in KINDS if is_about_trouble(Happening(at_ms=1, kind=kind))}
    assert {"trouble_on", "trouble_off", "view_behind", "view_back", "stopped", "running", "restart"} <= about
    assert about.isdisjoint({"phase", "start", "stop", "command", "fault_on", "fault_off"})
    assert all(KINDS[row.ends].trouble for row in KINDS.values() if row.ends)
