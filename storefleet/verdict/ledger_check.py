"""What the rows of a ledger can possibly say; each function raises ValueError or TypeError for what cannot be.

A million events pass here, so what is looked at for each of them is looked at by C code, a column at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from fleetwire.identity import MAXIMUM_SEQUENCE, Terminal
from fleetwire.packed_times import END_OF_TIME_MS
from storefleet.verdict.history import SourceLedger

PLANTED: Final = ("repeat", "conflict")


def require_sources(names: Mapping[int, str]) -> None:
    """Each a terminal of its own."""
    if len(set(names.values())) < len(names):
        raise ValueError("a source is there twice")
    for name in names.values():
        Terminal.parse(name)


def require_text(*values: object) -> None:
    """All of them text: SQLite keeps whatever it is given."""
    if any(type(value) is not str for value in values):
        raise TypeError("a type, day or reason that is no text")


def require_times(times_ms: Collection[int]) -> None:
    """All of them after the beginning and before the end of time."""
    if times_ms and not 0 <= min(times_ms) <= max(times_ms) < END_OF_TIME_MS:
        raise ValueError("committed_at_ms: no time")


def require_sequences(first: int, last: int) -> None:
    """From 1 to what every JSON implementation reads exactly; the numbers between ascend."""
    if not 1 <= first <= last <= MAXIMUM_SEQUENCE:
        raise ValueError(f"sequences {first} to {last}: no event has these")


def require_outcome(source: SourceLedger, row: tuple[object, object, object, object, object]) -> None:
    """First, last, verdict, stage, reason; of events that the source need not have committed: the judge says so then."""
    first, last, verdict, stage, reason = row
    if not (isinstance(first, int) and isinstance(last, int) and isinstance(stage, str) and isinstance(reason, str)):
        raise TypeError("an outcome with a value of another type")
    if verdict not in {"applied", "rejected"}:
        raise ValueError(f"an outcome {str(verdict)[:80]!r}")
    if not 1 <= first <= last <= MAXIMUM_SEQUENCE:
        raise ValueError(f"an outcome of events {first} to {last}: no event has these")
    if verdict == "rejected" and last - first > source.sequences.last:
        raise ValueError(f"a rejection of events {first} to {last}, where {source.sequences.last} were committed")


def require_mark(sequence: object, what: object, allowed: Collection[str] = ()) -> None:
    """A number that an event may have, and beside it a count of attempts or the kind of what was planted."""
    if not isinstance(sequence, int) or not 1 <= sequence <= MAXIMUM_SEQUENCE:
        raise ValueError(f"sequence {str(sequence)[:80]} of an attempt or a plant")
    if what not in allowed if allowed else not isinstance(what, int) or what < 1:
        raise ValueError(f"an attempt or a plant {str(what)[:80]!r}")


def require_time(at_ms: object) -> None:
    """When something happened, in milliseconds."""
    if not isinstance(at_ms, int):
        raise TypeError(f"a time {str(at_ms)[:80]!r}")


def require_register(row: tuple[object, object, object, object, object]) -> None:
    """Online, reason, boot, business day's number, time."""
    online, reason, boot, bd_seq, at_ms = row
    if not isinstance(reason, str) or not all(isinstance(one, int) for one in (online, boot, bd_seq, at_ms)):
        raise TypeError("a register with a value of another type")
