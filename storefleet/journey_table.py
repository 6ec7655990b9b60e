"""One event's journey as a person reads it: each step's time, what it did, and what became of the event."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich.table import Table
from rich.text import Text

from fleetwire.dead_letters import printable
from fleetwire.terminal_text import shown
from storefleet.panel import STAGE_LABELS
from storefleet.plan import SEVERAL_INSTANCES
from storefleet.recorded_journey import JourneyRow, Outcome, RecordedJourney
from storefleet.verdict.clock_text import clock
from storefleet.verdict.ledger_entries import Told
from storefleet.verdict.sightings import Sighting

NOT_SEEN: Final = "not seen"


def journey_rows(rows: Sequence[JourneyRow]) -> list[tuple[str, str, str, str]]:
    """Stage, when it had the event (UTC), milliseconds since its commit, what it did."""
    since_ms = _begin_ms(rows)
    return [(_label(row), *_cells(row.sighting, since_ms)) for row in rows]


def journey_table(journey: RecordedJourney) -> Table:
    """The journey as Rich draws it; its cells say what they say, also where that looks like Rich's markup."""
    table = Table(title=Text(f"journey of {printable(journey.key)}"))
    for heading in ("stage", "at (UTC)", "since commit", "what it did"):
        table.add_column(heading)
    for row in journey_rows(journey.rows):
        table.add_row(*(Text(shown(cell)) for cell in row))
    return table


def journey_lines(journey: RecordedJourney) -> Text:
    """The journey for a narrow terminal: a line for each step and its times, and below it what it did."""
    lines = [f"journey of {journey.key}"]
    for stage, at, since, did in journey_rows(journey.rows):
        lines += [stage, *(f"  {part}" for part in (at, since, *did.split(", ")) if part)]
    return Text(shown("\n".join(lines)))


def outcome_text(outcome: Outcome) -> str:
    """What became of the event, in one line."""
    words = [*map(_told, outcome.told)] or ["no outcome"]
    if outcome.sent > 1:
        again = f", last {clock(outcome.sent_again_ms)}" if outcome.sent_again_ms else ""
        words.append(f"sent {outcome.sent:,} times{again}")
    return "; ".join([*words, *_doubts(outcome)])


def stranger_text(journey: RecordedJourney) -> str:
    """Of an event that nobody has seen: why, as far as it is known."""
    doubts = "; ".join(_doubts(journey.outcome))
    return f"nobody has seen {journey.key}" + (f": {doubts}" if doubts else "")


def _doubts(outcome: Outcome) -> Iterator[str]:
    if not outcome.ledger:
        yield "there is no ledger to read"
    elif not outcome.terminal:
        yield "its source is no terminal of this run"
    elif not outcome.committed:
        yield "its terminal has not committed it"
    elif not outcome.sent:
        yield "not sent yet"


def _told(told: Told) -> str:
    verdict = told.verdict if told.verdict == "applied" else f"rejected by {told.stage}: {told.reason}"
    return f"{printable(verdict)}, told {clock(told.at_ms)}"


def _begin_ms(rows: Sequence[JourneyRow]) -> int:
    """The commit, as the first step tells it; 0: not known."""
    first = rows[0].sighting if rows else None
    return first.at_ms if first is not None and first.exact else 0


def _label(row: JourneyRow) -> str:
    """``PARM 2``, ``broker, raw``, ``gateway (yours)``; the number where several instances may share the work."""
    words = STAGE_LABELS.get(row.stage, printable(row.stage))
    if row.step != row.stage:
        words += f", {printable(row.step.removeprefix(f'{row.stage}-'))}"
    instance = row.sighting.instance if row.sighting is not None else 0
    if instance and (row.stage in SEVERAL_INSTANCES or instance > 1):
        words += f" {instance}"
    return words + (" (yours)" if row.foreign else "")


def _cells(sighting: Sighting | None, since_ms: int) -> tuple[str, str, str]:
    if sighting is None:
        return NOT_SEEN, "", ""
    by = "" if sighting.exact else "by "
    since = f"{by}{sighting.at_ms - since_ms:+,} ms" if since_ms else ""
    return f"{by}{clock(sighting.at_ms)}", since, _did(sighting)


def _did(sighting: Sighting) -> str:
    parts = [sighting.did]
    if sighting.handed_on_ms and sighting.exact and sighting.handed_on_exact:
        parts.append(f"handed on after {sighting.handed_on_ms - sighting.at_ms:,} ms")
    elif sighting.handed_on_ms:
        by = "" if sighting.handed_on_exact else "by "
        parts.append(f"handed on {by}{clock(sighting.handed_on_ms)}")
    if sighting.attempt > 1:
        parts.append(f"attempt {sighting.attempt:,}")
    return ", ".join(parts)
