"""The verdict for people, as plain text: what is printed at the end of a run is what ``report.txt`` says.

The first lines are the findings (:mod:`storefleet.verdict.finding_text`): what, where, since when, what next. Behind them
stand the figures: what became of all events, each view, the dead letters, what healed, what was done to the run.
"""

from __future__ import annotations

import io
import textwrap
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from storefleet.verdict.classify import CLASSES
from storefleet.verdict.clock_text import clock, date_and_clock
from storefleet.verdict.finding_text import WIDTH, finding_lines, headline
from storefleet.verdict.lab_record import describe
from storefleet.verdict.machine import CAUSES, figures
from storefleet.verdict.result import MachineAccount, Unknown, Verdict, ViewAccount

WORDS: Final[dict[str, str]] = {
    "ok": "arrived once, unaltered, in time",
    "recovered": "arrived, though nobody acknowledged it",
    "rejected": "rejected with a reason",
    "unread": "acknowledged as applied; no view of events was read",
    "never_read": "no outcome, not arrived",
    "stale": "arrived too late",
    "unexpected": "present, although never sent, or although rejected",
    "duplicated": "counted more than once",
    "corrupted": "arrived altered",
    "lost": "acknowledged as applied, but missing",
}
NOTHING: Final = "nothing"
GUESTS: Final = "a guest's, or sent by hand: no terminal of this fleet has that name"
_RIGHT: Final = ("events", "letters", "took", "deadline", "how many", "allowed")


def plain_text(verdict: Verdict, name: str = "", *, spans: bool = False) -> str:
    """All of it, 120 columns wide. ``spans``: also every hop and stage between the ends of a place."""
    return "\n".join([*_first_lines(verdict, name, spans=spans), *_drawn(verdict)]) + "\n"


def _first_lines(verdict: Verdict, name: str, *, spans: bool) -> Iterator[str]:
    yield headline(verdict, name)
    for finding in verdict.findings:
        yield ""
        yield from finding_lines(finding, spans=spans, faults=bool(verdict.faults))
    if verdict.unknown:
        yield ""
    for unsure in verdict.unknown:
        yield from textwrap.wrap(_unsure(unsure), WIDTH, subsequent_indent="  ")


def _unsure(unsure: Unknown) -> str:
    detail = f" ({unsure.detail})" if unsure.detail else ""
    return f"not known: {unsure.text}{detail}; to know it: {unsure.would_make_it_known}"


def _drawn(verdict: Verdict) -> list[str]:
    console = Console(file=io.StringIO(), width=WIDTH, color_system=None, force_terminal=False, legacy_windows=False)
    for part in _parts(verdict):
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def _parts(verdict: Verdict) -> Iterator[RenderableType]:
    yield _events(verdict)
    if verdict.views:
        yield _views(verdict)
    if verdict.dead_letters or verdict.letters or verdict.guests:
        yield _dead_letters(verdict)
    if any(one.count or one.allowed is not None for one in verdict.budgets):
        yield _budgets(verdict)
    yield from _story(verdict)
    yield from _remarks(verdict)


class _Table(Table):
    """Its cells say what they say: a register's name may look like Rich's markup."""

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        super().add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells), **options)


def _table(title: str, *columns: str) -> Table:
    table = _Table(title="\n" + title, title_justify="left", box=SIMPLE_HEAD, min_width=len(title))
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in _RIGHT else "left"
        table.add_column(column, justify=justify, overflow="fold")
    return table


def _events(verdict: Verdict) -> Table:
    invented = f", {verdict.invented:,} that nobody sent" if verdict.invented else ""
    table = _table(f"{verdict.sent:,} events were sent{invented}", "events", "class", "what that means")
    for name in reversed(CLASSES):
        count = verdict.counts.get(name, 0)
        if count or name == "ok":
            table.add_row(f"{count:,}", name, WORDS[name])
    return table


def _views(verdict: Verdict) -> Table:
    when = "after the faults were lifted" if verdict.faults else "at the end"
    table = _table(f"How long each view took to agree {when}", "view", "verdict", "took", "deadline", "differences")
    for view in verdict.views:
        differences = f"{view.difference_count:,}" if view.difference_count else ""
        table.add_row(view.view, view.validity, _took(view), f"{view.deadline_ms / 1000:.1f} s", differences)
    return table


def _took(view: ViewAccount) -> str:
    if not view.read:
        return "was not read"
    if view.healed_to_converged_ms is None:
        return "did not agree"
    return f"{view.healed_to_converged_ms / 1000:.1f} s"


def _dead_letters(verdict: Verdict) -> Table:
    """By kind; those that nothing explains stand by name among the findings, and all in ``verdict.json``."""
    total = sum(sum(reasons.values()) for reasons in verdict.dead_letters.values())
    title = f"Dead letters: {'at least ' if verdict.dead_letters_at_least else ''}{total:,}"
    table = _table(title, "letters", "stage", "reason", "explained by")
    kinds: Counter[tuple[str, str, str]] = Counter()
    for letter in verdict.letters:
        kinds[letter.stage, letter.reason, letter.explained_by or NOTHING] += letter.count
    for stage, reasons in verdict.guests.items():
        for reason, count in reasons.items():
            kinds[stage, reason, GUESTS] += count
    for (stage, reason, explained_by), count in kinds.items():
        table.add_row(f"{count:,}", stage, reason, explained_by)
    return table


def _budgets(verdict: Verdict) -> Table:
    table = _table("What healed, and what the budgets allow", "how many", "what", "allowed", "which")
    for one in verdict.budgets:
        if one.count or one.allowed is not None:
            allowed = "" if one.allowed is None else f"{one.allowed:,}"
            table.add_row(f"{one.count:,}", one.words, allowed, "\n".join(one.details))
    return table


def _story(verdict: Verdict) -> Iterator[Text]:
    """Which run it was, and what was done to it."""
    run = verdict.run
    yield Text("")
    if run.terminals:
        of = f"{run.stores:,} stores, {run.terminals:,} terminals, seed {run.seed}, {run.rate_per_s:g} events/s"
        yield Text(f"Fleet: {of}.")
    if run.started_at_ms:
        ended = f", ended {clock(run.ended_at_ms)}" if run.ended_at_ms else ""
        yield Text(f"Started {date_and_clock(run.started_at_ms)}{ended}.")
    for fault in verdict.faults:
        yield Text(f"Fault at {clock(fault.begin_ms)}: {describe(fault)}.")
    for words in verdict.troubles:
        yield Text(f"Trouble: {words}.")


def _remarks(verdict: Verdict) -> Iterator[Text]:
    if verdict.views_not_judged:
        names = ", ".join(verdict.views_not_judged)
        yield Text(f"Not judged, since a stage of somebody else's makes or shows them: {names}.")
    unjudged = [view.view for view in verdict.views if view.read and not view.lateness_judged]
    if unjudged:
        yield Text(f"Lateness not judged, since nobody says when events came: {', '.join(unjudged)}.")
    if verdict.broker is not None and (verdict.broker.dropped or verdict.broker.restarts):
        restarts = f" over {verdict.broker.restarts + 1} starts" if verdict.broker.restarts else ""
        yield Text(f"Dropped by the broker, by its own count{restarts}: {verdict.broker.dropped:,} messages.")
    if verdict.machine.measured or verdict.machine.stalled_ms:
        yield Text(_machine(verdict.machine))
    if verdict.broken_lines:
        yield Text(f"Lines of the witnesses' file that say nothing and were skipped: {verdict.broken_lines:,}.")
    if verdict.refused_reports:
        counts = ", ".join(f"{who} {count:,}" for who, count in verdict.refused_reports.items())
        yield Text(f"Reports that were refused at the door: {counts}.")
    if verdict.rejected_by_reason:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in verdict.rejected_by_reason.items())
        yield Text(f"Rejected, by reason: {reasons}.")


def _machine(machine: MachineAccount) -> str:
    still = f"stood still for {machine.stalled_ms:,.0f} ms ({figures(machine.stalled_by_cause)})"
    parts = [f"Machine: {still if machine.stalled_ms else 'never stood still'}"]
    for word, known in (("measured", True), ("not measured", False)):
        causes = [words for cause, words in CAUSES.items() if (cause in machine.measured) is known]
        if causes and machine.measured:
            parts.append(f"{word}: {', '.join(causes)}")
    text = "; ".join(parts) + "."
    if machine.cpu_waited_ms is None or not machine.watched_ms:
        return text
    share = 100 * machine.cpu_waited_ms / machine.watched_ms
    return f"{text} CPU was contended {share:.0f} % of the time (not counted as an excuse)."
