"""A run's log in words: one line a happening, for people; and what older runs tell that have none.

A run that was recorded before there was a log says of itself what its ``plan.json`` and ``processes.jsonl`` hold: starts and
ends, phases, faults, commands and standstills. Nobody wrote down then when views were behind or what troubles there were.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from fleetwire import bounded_json
from fleetwire.clock import utc_text
from fleetwire.packed_times import END_OF_TIME_MS
from storefleet.process_journal import read_journal
from storefleet.run_record import RunRecord
from storefleet.run_story import describe, plain_command
from storefleet.standstills import Standstills
from storefleet.verdict.log_file import KINDS, LOG_FILE_NAME, Happening, cleaned, read_log
from storefleet.verdict.machine import LAB_PROCESS
from storefleet.verdict.run_folder import read_plan

WHO_WIDTH: Final = 17


class Told(NamedTuple):
    """What a run folder tells; ``derived``: it has no log, and other files told it."""

    happenings: list[Happening]
    derived: bool


def happenings_of(folder: Path) -> Told:
    """What happened in the run of a folder, in order; raises SettingsError when it is no run folder."""
    plan, content = read_plan(folder)
    if found := read_log(folder / LOG_FILE_NAME):
        return Told(_in_order(found), derived=False)
    try:
        record = bounded_json.decode(content, type=RunRecord)
    except msgspec.ValidationError:  # no lab has recorded it
        record = None
    found = [*_of_processes(folder), *(_of_record(record) if record is not None else ())]
    found += [Happening(at_ms=phase.from_ms, kind="phase", who=LAB_PROCESS, text=phase.name) for phase in plan.phases]
    possible = [cleaned(one) for one in found if 0 < one.at_ms < END_OF_TIME_MS]
    return Told(_in_order(possible), derived=True)


def _in_order(happenings: list[Happening]) -> list[Happening]:
    """By time: what lasts is written down when it is noticed, with the time at which it began."""
    return sorted(happenings, key=lambda one: one.at_ms)


def _of_processes(folder: Path) -> Iterator[Happening]:
    ended: dict[str, str] = {}
    started: set[str] = set()
    for line in read_journal(folder):
        if line.exit:
            ended[line.name] = line.exit
            yield Happening(at_ms=line.at_ms, kind="end", who=line.name, text=line.exit)
            continue
        after = ended.pop(line.name, "")
        kind = "restart" if line.name in started else "start"
        started.add(line.name)
        yield Happening(at_ms=line.at_ms, kind=kind, who=line.name, text=f"after {after}" if after else "")


def _of_record(record: RunRecord) -> list[Happening]:
    found = [
        Happening(
            at_ms=command.at_ms, kind="command", who=LAB_PROCESS, text=plain_command(command.what, command.params)
        )
        for command in record.commands
    ]
    for fault in record.faults:
        what = f"{fault.type} on {fault.hop}"
        found.append(Happening(at_ms=fault.begin_ms, kind="fault_on", who=fault.hop, text=what))
        if fault.end_ms:
            found.append(Happening(at_ms=fault.end_ms, kind="fault_off", who=fault.hop, text=describe(fault)))

    def note(kind: str, who: str = "", text: str = "", at_ms: int | None = None) -> None:
        found.append(Happening(at_ms=at_ms or 0, kind=kind, who=who, text=text))

    standstills = Standstills(note)
    for stall in sorted(record.stalls, key=lambda one: one.at_ms):
        standstills.hear(stall)
    return found


def lines(happenings: Iterable[Happening]) -> Iterator[str]:
    """A line each, and the date above the first and wherever another begins; UTC."""
    date = ""
    for happening in happenings:
        day, _, time = utc_text(happening.at_ms / 1000).rstrip("Z").partition("T")
        if day != date:
            date = day
            yield f"{date} (UTC)"
        text = f": {happening.text}" if happening.text else ""
        yield f"{time}  {happening.who:<{WHO_WIDTH}}  {KINDS[happening.kind].words}{text}"
