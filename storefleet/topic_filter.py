"""Whether a topic filter is one, before a broker is asked: MQTT 5.0, 4.7 and 4.8.2.

A broker answers a malformed filter by closing the connection, which looks like a network that fails.
"""

from __future__ import annotations

from typing import Final

LONGEST_BYTES: Final = 65_535
SHARED: Final = "$share/"
NO_CHARACTERS: Final = frozenset({"\0", *map(chr, range(0xD800, 0xE000))})
"""The null character, and halves of characters, which a command line gives where it is no UTF-8 (1.5.4)."""


def problem_of(pattern: str) -> str:
    """What is wrong with a filter, in words; empty when nothing is."""
    if pattern.startswith(SHARED):
        group, slash, pattern = pattern.removeprefix(SHARED).partition("/")
        if not group or not slash or {"+", "#"} & {*group}:
            return "a shared one is $share/GROUP/FILTER, the group without + and #"
    *before, last = levels = pattern.split("/")
    wrong = {
        "it is empty": not pattern,
        f"more than {LONGEST_BYTES:,} bytes are not possible": len(pattern.encode(errors="replace")) > LONGEST_BYTES,
        "it has a character that no topic has": not {*pattern}.isdisjoint(NO_CHARACTERS),
        "# stands only at the end, for whole levels": "#" in "".join(before) or ("#" in last and last != "#"),
        "+ stands only for one whole level": any("+" in level and level != "+" for level in levels),
    }
    return next((words for words, is_so in wrong.items() if is_so), "")
