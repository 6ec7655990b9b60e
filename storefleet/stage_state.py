"""How a stage is, in a word with a figure: ``stopped 8 s``, ``silent 8 s``, ``starting``, ``gone``; nothing when it is well.

Sans-io: :class:`Process` is what the lab knows of one process, :data:`WORDS` the table of what can be wrong with it. What a
stage that reports does not hand on is told from its figures, by :func:`not_acknowledging`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

SILENT_S: Final = 2.0
"""A stage reports every second."""
BROKER_SILENT_S: Final = 2.8
"""Mosquitto counts whole seconds: what it is to say every second comes every two."""
IDLE_S: Final = 2.0


class Process(NamedTuple):
    """One process of a stage; what is not known, or does not apply, is None."""

    running: bool | None
    """None: it is no process of ours."""
    stopped_s: float | None = None
    """For how long it has been stopped (SIGSTOP, a debugger)."""
    ready: bool | None = None
    """Whether it has joined the lab and said that it works; None: it need not."""
    silent_s: float | None = None
    """How old its newest report is; None: it has never reported to this lab."""
    silent_limit_s: float = SILENT_S
    """An older report than that means that it is silent."""
    connected: bool | None = None
    """Of a process that does not report: whether it is connected to what its hop leads to."""


class Word(NamedTuple):
    """A state: when it holds, and for how long it has."""

    word: str
    holds: Callable[[Process], bool]
    for_s: Callable[[Process], float | None] = lambda _: None


WORDS: Final = (
    Word("stopped", lambda one: one.stopped_s is not None, lambda one: one.stopped_s),
    Word("gone", lambda one: one.running is False or one.connected is False),
    Word("gone", lambda one: one.running is None and one.ready is False and one.silent_s is not None),
    Word("starting", lambda one: one.ready is False),
    Word("silent", lambda one: (one.silent_s or 0.0) > one.silent_limit_s, lambda one: one.silent_s),
)
"""In the order of precedence: of several that hold, the first is said."""


class State(NamedTuple):
    """Of a whole stage: what is said of it, whether any process of it stands still, and how old its oldest word is."""

    text: str
    stands: bool
    silent_s: float


def state_of(processes: Sequence[Process]) -> State:
    """Of several processes the worst state is said, and of how many it is true."""
    silent_s = max((one.silent_s for one in processes if one.silent_s is not None), default=0.0)
    for word in WORDS:
        found = [one for one in processes if word.holds(one)]
        if not found:
            continue
        times_s = [for_s for one in found if (for_s := word.for_s(one)) is not None]
        text = in_words(word.word, max(times_s, default=None))
        return State(text if len(processes) == 1 else f"{len(found)} of {len(processes)} {text}", True, silent_s)
    return State("", False, silent_s)


def not_acknowledging(waiting_s: float, idle_s: float) -> str:
    """What is said of a stage that reports: something has waited for it for so long, and it has handed on nothing for so
    long; '' when both are not long enough."""
    for_s = min(waiting_s, idle_s)
    return in_words("not acknowledging", for_s) if for_s > IDLE_S else ""


class Patience:
    """For how long something has waited at each stage, by those who look: an old event that has only just come to a stage,
    because another one held it up, has not waited there."""

    def __init__(self) -> None:
        self._since_s: dict[str, float] = {}

    def waiting_s(self, stage: str, now_s: float, *, waits: bool) -> float:
        """Since the first of the looks at which something waited without a break."""
        if not waits:
            self._since_s.pop(stage, None)
            return 0.0
        return now_s - self._since_s.setdefault(stage, now_s)


def in_words(word: str, for_s: float | None) -> str:
    """``silent 8 s``."""
    return word if for_s is None else f"{word} {for_s:.0f} s"
