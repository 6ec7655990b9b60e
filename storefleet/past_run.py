"""A run whose lab died before its verdict, as its folder tells: all that a new lab needs to go on with it.

What can go on is decided here, before anything starts; whatever cannot is a SettingsError of one line. While a
:class:`PastRun` is open its journal is locked, so that two labs never go on with one run.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from fleetwire import bounded_json
from fleetwire.errors import SettingsError
from fleetwire.ledger_format import LEDGER_FILE_NAME
from fleetwire.plain_words import plain
from storefleet import home
from storefleet.convergence import Recovery
from storefleet.folders import require_text
from storefleet.process_journal import ProcessJournal
from storefleet.run_folders import newest_run
from storefleet.run_record import GONE_PHASE, RecoveryRecord, RunRecord
from storefleet.unfinished_runs import LAB_FILE_NAME, has_ended
from storefleet.verdict.journey import JourneyView
from storefleet.verdict.run_folder import read_plan

STARTING_PHASE: Final = "starting"
LATEST: Final = "latest"
BROKER: Final = "broker"
GATEWAY: Final = "gateway"
"""Under these names a lab's ports stand beside those of its hops."""


@dataclass(frozen=True, slots=True)
class PastRun:
    """A run that goes on; ``ports`` are those of the lab that died, by hop, and BROKER and GATEWAY."""

    folder: Path
    record: RunRecord
    journal: ProcessJournal
    ports: dict[str, int]


def open_past_run(folder: Path) -> PastRun:
    """The run of a folder, locked for whoever goes on with it; raises SettingsError when it cannot go on."""
    _require_unfinished(folder)  # into a folder that cannot go on nothing is written
    folder = require_text(folder.resolve())
    journal = ProcessJournal(folder)
    try:
        record = _require_unfinished(folder)  # a lab may have had it until now, and have ended it
    except SettingsError:
        journal.close()
        raise
    return PastRun(folder, record, journal, _ports(folder / LAB_FILE_NAME))


def _require_unfinished(folder: Path) -> RunRecord:
    record = _record(folder)
    if has_ended(folder) or (record.seal is not None and record.seal.slimmed is not None):
        raise SettingsError(f"{folder} has ended; its verdict stands: storefleet verdict {folder}")
    traded = any(phase.name not in (STARTING_PHASE, GONE_PHASE) for phase in record.phases)
    if traded and not (folder / LEDGER_FILE_NAME).is_file():
        raise SettingsError(
            f"{folder} has no {LEDGER_FILE_NAME}: what its tills have sold is not known any more, so it cannot go on"
        )
    return record


def take_over_lab_file(run_folder: Path, lab_folder: Path) -> bool:
    """Write down for 'storefleet clean' which broker the lab that died has reached; False when it had reached none."""
    try:
        text = (run_folder / LAB_FILE_NAME).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return False
    home.write_private(lab_folder / LAB_FILE_NAME, text)
    return True


def find_run(text: str, runs: Path) -> Path:
    """The run folder that a user means: a path, or ``latest`` for the newest below ``runs``; raises SettingsError."""
    if text != LATEST or Path(text).exists():
        return Path(text)
    newest = newest_run(runs)
    if newest is None:
        raise SettingsError(f"no run folder in {runs}; name one such as runs/<time>-<name>")
    return newest


def _record(folder: Path) -> RunRecord:
    _, content = read_plan(folder)
    try:
        return bounded_json.decode(content, type=RunRecord)
    except msgspec.ValidationError as error:
        raise SettingsError(
            f"{folder} was not recorded by a lab, so no lab can go on with it ({plain(error)})"
        ) from error


def _ports(lab_file: Path) -> dict[str, int]:
    """Where everything listened; empty when the lab died before it knew."""
    try:
        lab = bounded_json.decode(lab_file.read_text(encoding="utf-8"))
        addresses = {hop: str(address["listen"]) for hop, address in lab["hops"].items()}
        if lab["broker"]["kind"] == "local":
            addresses[BROKER] = str(lab["broker"]["address"])
        if lab["gateway"]:
            addresses[GATEWAY] = str(lab["gateway"]).partition("://")[2].partition("/")[0]
        return {name: int(address.rpartition(":")[2]) for name, address in addresses.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def go_on(record: RunRecord, *, known_ms: int, now_ms: int) -> int:
    """Carry a record on from now; ``known_ms`` is the newest time at which its last lab was known to live.

    The time without a lab is a phase of its own. Faults ended with the process that made them. A recovery that was cut
    short answers for nothing: one that had not had its time when the record was written, since what came later nobody
    wrote down. Returns how long there was no lab, in milliseconds.
    """
    died_ms = min(now_ms, max(known_ms, *_times_ms(record)))
    seen_ms = record.written_at_ms or died_ms
    had_its_time_ms = record.deadline_s * 1000
    record.close_phase(died_ms)
    record.enter(GONE_PHASE, died_ms)
    for fault in record.faults:
        if not fault.end_ms:
            fault.end_ms, fault.ended_by_itself = now_ms, True
    record.recoveries = [
        one for one in record.recoveries if _whole(one, record.views) or seen_ms - one.healed_ms >= had_its_time_ms
    ]
    return now_ms - died_ms


def _times_ms(record: RunRecord) -> Iterable[int]:
    return (record.started_at_ms, *(max(phase.from_ms, phase.until_ms) for phase in record.phases))


def _whole(recovery: RecoveryRecord, views: list[JourneyView]) -> bool:
    return all(view in recovery.converged_ms for view in _waited_for(views))


def _waited_for(views: list[JourneyView]) -> list[str]:
    return [view.view for view in views if not view.follows]


def recovery_of(record: RecoveryRecord, views: list[JourneyView]) -> Recovery:
    """A wait of an earlier lab, as far as it came."""
    recovery = Recovery(record.healed_ms, {}, {}, _waited_for(views))
    recovery.converged_ms.update(record.converged_ms)
    return recovery
