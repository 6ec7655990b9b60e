"""What is wrong in a lab, in at most TROUBLES_SHOWN lines, the worst first: for the display, ``status`` and programs.

First what is wrong now, by the order of :data:`fleetwire.troubles.TROUBLES`; then what is lost to the lab's ears, dead
letters, and who was started again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from fleetwire.clock import utc_text
from fleetwire.troubles import TROUBLES
from storefleet.current_troubles import Trouble

if TYPE_CHECKING:
    from storefleet.lab import Lab
    from storefleet.letter_box import Counted
    from storefleet.processes import Child

TROUBLES_SHOWN: Final = 8
LINE_CHARACTERS: Final = 200
LETTER_KINDS_SHOWN: Final = 3
_ORDER: Final = {code: place for place, code in enumerate(TROUBLES)}


class Restarted(NamedTuple):
    """A process that ended unasked: how often it was started again, when last, and how its last life ended."""

    name: str
    times: int
    at_ms: int
    last_exit: str
    running: bool


def troubles_of(lab: Lab) -> tuple[str, ...]:
    """What is wrong in this lab."""
    return troubles_shown(
        lab.observatory.troubles.all(),
        letters=lab.letters.kinds if lab.letters is not None else {},
        restarted=[_restarted(child) for child in lab.processes.children.values() if child.last_exit],
        dropped=lab.broker_watch.account().dropped if lab.broker_watch is not None else 0,
    )


def troubles_shown(
    now: Iterable[Trouble],
    *,
    letters: Mapping[tuple[str, str], Counted],
    restarted: Iterable[Restarted],
    dropped: int,
) -> tuple[str, ...]:
    """The lines; what has none is counted in the last one."""
    lines = [line[:LINE_CHARACTERS] for line in _lines(now, letters, restarted, dropped)]
    if len(lines) > TROUBLES_SHOWN:
        left_out = len(lines) - TROUBLES_SHOWN + 1
        lines[TROUBLES_SHOWN - 1 :] = [f"and {left_out} more: storefleet log --troubles"]
    return tuple(lines)


def _lines(
    now: Iterable[Trouble], letters: Mapping[tuple[str, str], Counted], restarted: Iterable[Restarted], dropped: int
) -> Iterator[str]:
    for trouble in sorted(now, key=lambda one: (_ORDER.get(one.code, len(_ORDER)), one.since_ms)):
        yield f"{trouble.who}: {trouble.words} since {_time(trouble.since_ms)}: {trouble.detail}"
    order = sorted(restarted, key=lambda one: (one.running, -one.at_ms))
    yield from (_ended(one) for one in order if not one.running)
    if dropped:
        yield f"broker-1: dropped {dropped:,} messages"
    if letters:
        yield f"dead letters: {_kinds(letters)}"
    yield from (_ended(one) for one in order if one.running)


def _kinds(letters: Mapping[tuple[str, str], Counted]) -> str:
    most = sorted(letters.items(), key=lambda item: -item[1].letters)
    shown = [
        f"{stage} {reason} {counted.letters:,} (first {counted.first})"
        for (stage, reason), counted in most[:LETTER_KINDS_SHOWN]
    ]
    rest = len(most) - len(shown)
    return ", ".join([*shown, *([f"{rest} more kinds"] if rest else [])])


def _restarted(child: Child) -> Restarted:
    return Restarted(child.name, child.restarts, child.started_at_ms, child.last_exit, child.running)


def _ended(one: Restarted) -> str:
    if not one.running:
        return f"{one.name}: has ended, and is to be started again: {one.last_exit}"
    times = "once" if one.times == 1 else f"{one.times} times"
    return f"{one.name}: started again {times}, last {_time(one.at_ms)}: {one.last_exit}"


def _time(at_ms: int) -> str:
    """HH:MM:SS, UTC."""
    return utc_text(at_ms / 1000)[11:19]
