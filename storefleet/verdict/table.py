"""The verdict for people: a Rich table, the same as plain text, and JUnit XML for a CI.

Plain words: what was sent, what became of it, at which hop or stage what was lost or healed, how long each view took.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, Final, Literal
from xml.etree.ElementTree import Element, SubElement, tostring

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from storefleet.verdict.classify import CLASSES
from storefleet.verdict.machine import CAUSES, figures
from storefleet.verdict.result import Example, LetterAccount, MachineAccount, Verdict, ViewAccount

WORDS: Final[dict[str, str]] = {
    "ok": "arrived once, unaltered, in time",
    "recovered": "arrived, though nobody confirmed it",
    "rejected": "refused with a reason",
    "unread": "confirmed; no view of events was read",
    "never_read": "no outcome, not arrived",
    "stale": "arrived too late",
    "unexpected": "arrived, though never sent or refused",
    "duplicated": "counted more than once",
    "corrupted": "arrived altered",
    "lost": "confirmed, but missing",
    "healed": "lost on the way, made good by a re-send",
}
_HEADLINES: Final = {
    "valid": ("VALID", "bold green", "everything that was sent arrived as it should"),
    "invalid": ("INVALID", "bold red", "something is wrong, and it is proven"),
    "unknown": ("UNKNOWN", "bold yellow", "nothing wrong is proven, but not everything is known"),
}
_STYLES: Final = {"valid": "green", "invalid": "red", "unknown": "yellow"}
EXAMPLES_SHOWN: Final = 5
LETTERS_SHOWN: Final = 20
NOTHING: Final = "nothing"
GUESTS: Final = "a guest's: no terminal of this fleet has that name"


def renderable(verdict: Verdict, name: str = "") -> RenderableType:
    """The verdict for a Rich console."""
    return Group(*_parts(verdict, name))


def plain_text(verdict: Verdict, name: str = "") -> str:
    """The same without colours, 120 columns wide."""
    console = Console(file=io.StringIO(), width=120, color_system=None, force_terminal=False, legacy_windows=False)
    console.print(renderable(verdict, name))
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"


def _parts(verdict: Verdict, name: str) -> Iterator[RenderableType]:
    word, style, meaning = _HEADLINES[verdict.validity]
    yield Text.assemble((word, style), f"  {name}: {meaning}" if name else f"  {meaning}")
    for wrong in verdict.invalid:
        yield Text(f"  wrong: {wrong.text} ({wrong.detail})", style="red")
    for unsure in verdict.unknown:
        detail = f" ({unsure.detail})" if unsure.detail else ""
        yield Text(f"  not known: {unsure.text}{detail}; to know it: {unsure.would_make_it_known}", style="yellow")
    yield _events(verdict)
    if verdict.places:
        yield _places(verdict)
    if verdict.views:
        yield _views(verdict)
    examples = list(_examples(verdict))
    if examples:
        yield _example_table(examples)
    altered = [example for _, example in examples if example.fields]
    if altered:
        yield _field_table(altered)
    if any(name == "corrupted" and not example.fields for name, example in examples):
        yield Text("Where only hashes are shown, that view keeps no bodies, or the plan does not make the event again.")
    if verdict.dead_letters or verdict.letters or verdict.guests:
        yield from _dead_letters(verdict)
    yield from _remarks(verdict)


class _Table(Table):
    """Its cells say what they say: a register's name may look like Rich's markup."""

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        super().add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells), **options)


def _table(title: str, *columns: str) -> Table:
    table = _Table(
        title="\n" + title,
        title_justify="left",
        title_style="bold",
        header_style="dim",
        box=SIMPLE_HEAD,
        min_width=len(title),
    )
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in ("events", "letters", "took", "deadline") else "left"
        table.add_column(column, justify=justify, no_wrap=column in ("key", "field"), overflow="fold")
    return table


def _events(verdict: Verdict) -> Table:
    invented = f", {verdict.invented:,} that nobody sent" if verdict.invented else ""
    table = _table(f"{verdict.sent:,} events were sent{invented}", "events", "class", "what that means")
    for name in reversed(CLASSES):
        count = verdict.counts.get(name, 0)
        if count or name == "ok":
            table.add_row(f"{count:,}", name, WORDS[name])
    return table


def place_text(places: list[str]) -> str:
    """An address in words."""
    return places[0] if len(places) == 1 else "one of " + " > ".join(places) if places else "not known"


def _places(verdict: Verdict) -> Table:
    table = _table("Where", "events", "what", "hop or stage")
    for account in verdict.places:
        table.add_row(f"{account.count:,}", WORDS[account.what], place_text(account.places))
    return table


def _views(verdict: Verdict) -> Table:
    table = _table(
        "How long each view took to agree after the faults were lifted", "view", "verdict", "took", "deadline"
    )
    for view in verdict.views:
        table.add_row(
            view.view,
            Text(view.validity, style=_STYLES[view.validity]),
            _took(view),
            f"{view.deadline_ms / 1000:.1f} s",
        )
    return table


def _took(view: ViewAccount) -> str:
    if not view.read:
        return "was not read"
    if view.healed_to_converged_ms is None:
        return "did not agree"
    return f"{view.healed_to_converged_ms / 1000:.1f} s"


def _examples(verdict: Verdict) -> Iterator[tuple[str, Example]]:
    for name, account in verdict.classes.items():
        if name not in ("recovered", "rejected") or verdict.rejected_unexpectedly:
            for example in account.examples[:EXAMPLES_SHOWN]:
                yield name, example
    for view in verdict.views:
        for example in view.differences[:EXAMPLES_SHOWN]:
            yield "differs", example


def _example_table(examples: list[tuple[str, Example]]) -> Table:
    table = _table("Examples", "what", "key", "view", "expected", "found", "hop or stage")
    for name, example in examples:
        places = place_text(example.places) if example.places else ""
        table.add_row(name, example.name, example.view, example.expected, example.found, places)
    return table


def _field_table(examples: list[Example]) -> Table:
    table = _table("Altered on the way, field by field", "key", "view", "field", "expected", "found")
    for example in examples:
        for number, one in enumerate(example.fields):
            key, view = (example.name, example.view) if number == 0 else ("", "")
            table.add_row(key, view, one.path, Text(one.expected), Text(one.found))
    return table


def _dead_letters(verdict: Verdict) -> Iterator[RenderableType]:
    """What ended as a dead letter: what nothing explains by name, then the others by kind."""
    total = sum(sum(reasons.values()) for reasons in verdict.dead_letters.values())
    title = f"Dead letters: {'at least ' if verdict.dead_letters_at_least else ''}{total:,}"
    table = _table(title, "letters", "stage", "reason", "key", "explained by", "detail")
    against = [letter for letter in verdict.letters if not letter.explained_by]
    for count, *words in _letter_rows(verdict, against):
        table.add_row(f"{count:,}", *(Text(str(word), style="red" if word == NOTHING else "") for word in words))
    yield table
    if altered := [letter for letter in against[:LETTERS_SHOWN] if letter.fields]:
        yield _letter_field_table(altered)


def _letter_rows(verdict: Verdict, against: list[LetterAccount]) -> Iterator[tuple[int, str, str, str, str, str]]:
    for letter in against[:LETTERS_SHOWN]:
        yield letter.count, letter.stage, letter.reason, letter.key, NOTHING, letter.detail
    if more := against[LETTERS_SHOWN:]:
        yield sum(letter.count for letter in more), "", "", "further ones, see verdict.json", NOTHING, ""
    for letter in verdict.letters[len(against) :]:
        yield letter.count, letter.stage, letter.reason, letter.key, letter.explained_by, letter.detail
    for stage, reasons in verdict.guests.items():
        for reason, count in reasons.items():
            yield count, stage, reason, "", GUESTS, ""


def _letter_field_table(letters: list[LetterAccount]) -> Table:
    table = _table("Dead letters, field by field", "key", "stage", "field", "sent", "in the letter")
    for letter in letters:
        for number, one in enumerate(letter.fields):
            key, stage = (letter.key, letter.stage) if number == 0 else ("", "")
            table.add_row(Text(key), stage, one.path, Text(one.expected), Text(one.found))
    return table


def _remarks(verdict: Verdict) -> Iterator[Text]:
    if verdict.views_not_judged:
        names = ", ".join(verdict.views_not_judged)
        yield Text(f"Not judged, since a stage of somebody else's makes or shows them: {names}.")
    unjudged = [view.view for view in verdict.views if view.read and not view.lateness_judged]
    if unjudged:
        yield Text(f"Lateness not judged, since nobody says when events came: {', '.join(unjudged)}.")
    if verdict.resent:
        text = f"Sent again: {verdict.resent:,} events; {verdict.resent_needlessly:,} of them had arrived already"
        if verdict.resent_not_known:
            text += f"; whether {verdict.resent_not_known:,} had been lost, a stage that died cannot say any more"
        yield Text(f"{text}.")
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
    if verdict.duplicates_absorbed:
        counts = ", ".join(f"{stage} {count:,}" for stage, count in verdict.duplicates_absorbed.items())
        yield Text(f"Repeats that stages noticed and absorbed: {counts}.")
    if verdict.rejected_by_reason:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in verdict.rejected_by_reason.items())
        yield Text(f"Refused, by reason: {reasons}.")


def _machine(machine: MachineAccount) -> str:
    still = f"stood still for {machine.stalled_ms:,.0f} ms ({figures(machine.stalled_by_cause)})"
    parts = [f"Machine: {still if machine.stalled_ms else 'never stood still'}"]
    for word, known in (("measured", True), ("not measured", False)):
        causes = [words for cause, words in CAUSES.items() if (cause in machine.measured) is known]
        if causes and machine.measured:
            parts.append(f"{word}: {', '.join(causes)}")
    text = "; ".join(parts) + "."
    if machine.cpu_waited_ms is None:
        return text
    waited, watched = machine.cpu_waited_ms / 1000, machine.watched_ms / 1000
    return f"{text} Some process waited for a CPU for {waited:.1f} of {watched:.1f} s; that excuses nothing."


def junit(verdict: Verdict, name: str) -> bytes:
    """JUnit XML: one case for the accounting, one a view; a failure is proven, an error is not known."""
    suite = Element("testsuite", name=f"storefleet {name}".strip())
    accounting = SubElement(suite, "testcase", classname="storefleet", name="every event accounted for")
    for wrong in verdict.invalid:
        SubElement(accounting, "failure", type=wrong.code, message=_xml_text(f"{wrong.text} ({wrong.detail})"))
    for unsure in verdict.unknown:
        SubElement(accounting, "error", type=unsure.code, message=_xml_text(f"{unsure.text} ({unsure.detail})"))
    for view in verdict.views:
        case = SubElement(suite, "testcase", classname="storefleet.view", name=_xml_text(view.view))
        if view.healed_to_converged_ms is not None:
            case.set("time", f"{view.healed_to_converged_ms / 1000:.3f}")
        if view.validity != "valid":
            kind = "failure" if view.validity == "invalid" else "error"
            SubElement(case, kind, type=view.validity, message=_took(view))
    cases = list(suite)
    suite.set("tests", str(len(cases)))
    suite.set("failures", str(sum(case.find("failure") is not None for case in cases)))
    suite.set("errors", str(sum(case.find("failure") is None and case.find("error") is not None for case in cases)))
    return bytes(tostring(suite, encoding="utf-8", xml_declaration=True))


def _xml_text(text: str) -> str:
    """Text without the control characters that XML 1.0 cannot hold."""
    return "".join(character for character in text if character >= " " or character in "\t\n")
