"""Text of others on a terminal, in lines of JSON and in logs: it steers nothing and begins no line."""

from __future__ import annotations

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetwire.stage_log import STAGE_FORMAT, LineFormatter
from fleetwire.terminal_text import json_shown, shown

HOSTILE = ["\x1b[2J", "\x9b2J", "\x1b]0;title\x07", "\r", "\b", "\x7f", "\u202e", "\u2066", "\u2028", "\x85", "\ud800"]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_steers_a_terminal_is_replaced(text: str) -> None:
    """Escape sequences of both kinds, marks of direction, separators and half characters; the rest stays."""
    said = shown(f"a{text}b\n\tcaf\u00e9 \u5e97")
    assert said.startswith("a\ufffd")
    assert said.endswith("b\n\tcaf\u00e9 \u5e97")
    assert len(said.splitlines()) == 2
    said.encode()


@given(st.text(alphabet=st.characters(exclude_categories=("Cs",))))
def test_json_says_the_same_and_is_one_line(text: str) -> None:
    """For every reader of lines, Python's too."""
    line = json_shown(json.dumps({text: text}, ensure_ascii=False))
    assert json.loads(line) == {text: text}
    assert len(line.splitlines()) == 1
    assert shown(line) == line


def test_a_record_is_one_line_whatever_it_holds() -> None:
    """Nobody forges a line with a name, nor with the text of an exception."""
    forged = "x\n2026-11-29 00:00:00,000 ERROR parm: forged\x1b[2J"
    with pytest.raises(ValueError, match="invalid literal") as caught:
        int(forged)
    error = (caught.type, ValueError(f"{caught.value} {forged}"), caught.tb)
    record = logging.LogRecord("gateway", logging.WARNING, "f", 1, "no such id %s", (forged,), error)
    first, *rest = LineFormatter(STAGE_FORMAT).format(record).split("\n")
    assert first.endswith("WARNING gateway: no such id x\ufffd2026-11-29 00:00:00,000 ERROR parm: forged\ufffd[2J")
    assert rest[0] == "  Traceback (most recent call last):"
    assert [line for line in rest if not line.startswith("  ") or "\x1b" in line] == []
