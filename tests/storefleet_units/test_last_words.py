"""What a process said last: one line, short, printable, and no secret in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from storefleet.last_words import CHARACTERS, TAIL_BYTES, last_words


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ""),
        (b"\n \n", ""),
        (b"first\nlast\n\n", "last"),
        (b"first\nno end of line", "no end of line"),
        (b"2026-11-29 20:16:01,123 ERROR fleetwire.stage: port taken", "port taken"),
        (b"Traceback:\n  File x\nValueError: \x1b[31mred\x07 \xff", "ValueError: ?[31mred? \N{REPLACEMENT CHARACTER}"),
        (b"cannot reach mqtts://lab:hunter22@broker:8883 now", "cannot reach mqtts://***@broker:8883 now"),
        (b"STOREFLEET_BROKER_PASSWORD=abc token: xyz", "STOREFLEET_BROKER_PASSWORD=*** token: ***"),
        (b"refused the-secret here", "refused *** here"),
        (b"x" * 300, "x" * (CHARACTERS - 3) + "..."),
        (b"begin the-secret " + b"x" * TAIL_BYTES, ""),
    ],
    ids=range(11),
)
def test_the_last_line(tmp_path: Path, content: bytes, words: str) -> None:
    """The last that is not empty, without the head that our log lines have."""
    file = tmp_path / "log"
    file.write_bytes(content)
    assert last_words(file, secrets=["the-secret", "", "x"]) == words


def test_of_this_life_only(tmp_path: Path) -> None:
    """What an earlier incarnation said is no reason of this one; no file is no reason either."""
    file = tmp_path / "log"
    file.write_bytes(b"earlier\n")
    assert last_words(file, since_bytes=8) == ""
    file.write_bytes(b"earlier\nlater\n")
    assert last_words(file, since_bytes=8) == "later"
    assert last_words(tmp_path / "missing") == ""
