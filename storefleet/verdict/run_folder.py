"""A run folder, offline: read into a history, judged, and the verdict written beside it.

What makes the folder no run folder (unreadable, no plan, a newer format) is a SettingsError of one line; what merely
was not recorded (no ledger, no witnesses, no final reads) makes the verdict unknown with its reason.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from fleetwire.errors import SettingsError, StorageError
from fleetwire.identity import Key
from fleetwire.intervals import IntervalSet
from fleetwire.ledger_format import LEDGER_FILE_NAME
from storefleet.verdict.check import check
from storefleet.verdict.expected_bodies import expected_bodies
from storefleet.verdict.history import FOREVER_MS, History, Ledger, StageRecord, ViewRecord
from storefleet.verdict.journey import JourneyView
from storefleet.verdict.ledger_file import read_ledger
from storefleet.verdict.result import Verdict
from storefleet.verdict.run_format import (
    JUNIT_FILE_NAME,
    PLAN_FILE_NAME,
    READS_FILE_NAME,
    REPORT_FILE_NAME,
    RUN_VERSION,
    VERDICT_FILE_NAME,
    WITNESSES_FILE_NAME,
    FinalRead,
    Plan,
    Reads,
)
from storefleet.verdict.table import junit, plain_text
from storefleet.verdict.witness_file import Patience, enter_witnesses

_log = logging.getLogger(__name__)

File = TypeVar("File", Plan, Reads)
Note = tuple[str, str]


def judge_folder(folder: Path) -> Verdict:
    """Read, judge, and write ``verdict.json``, ``junit.xml`` and ``report.txt``; raises SettingsError.

    Where nothing can be written (a full disk) that is logged: there is a verdict all the same.
    """
    verdict, plan = judge(folder)
    try:
        write_verdict(folder, verdict, plan.name or folder.name)
    except StorageError as error:
        _log.error("%s", error)  # one line says it all
    return verdict


def judge(folder: Path) -> tuple[Verdict, Plan]:
    """The verdict on a run folder and its plan, with nothing written; raises SettingsError."""
    with _without_collector():
        history, plan = read_run(folder)
        return check(history), plan


def read_run(folder: Path) -> tuple[History, Plan]:
    """The history of a run folder, and its plan; raises SettingsError for what is no run folder of ours."""
    plan, content = read_plan(folder)
    with _without_collector():
        return _read_run(folder, plan, content)


def read_plan(folder: Path) -> tuple[Plan, bytes]:
    """The plan of a run folder, and all that its file says; raises SettingsError for what is no plan that we read."""
    content = _bytes(folder)
    return _decode(folder / PLAN_FILE_NAME, content, Plan), content


def _read_run(folder: Path, plan: Plan, content: bytes) -> tuple[History, Plan]:
    notes: list[Note] = []
    reads = _reads(folder / READS_FILE_NAME, notes)
    history = History(
        ledger=_ledger(folder / LEDGER_FILE_NAME, notes),
        stages=[_stage(plan, index) for index in range(len(plan.steps))],
        stalls=plan.stalls,
        machine=plan.machine,
        aborted=plan.aborted,
        interrupted=plan.interrupted,
        drains=plan.drains,
        allowed_rejections=frozenset(plan.allowed_rejections),
        notes=notes,
        broker=plan.broker,
    )
    history.views = [_view(plan, view, reads.views.get(view.view)) for view in plan.views]
    witnesses = folder / WITNESSES_FILE_NAME
    if witnesses.is_file():
        enter_witnesses(history, witnesses, _patience(history))
    else:
        notes.append(("witnesses_missing", witnesses.name))
    _enter_timelines(history)
    _enter_bodies(history, reads, _fleet(content))
    return history, plan


def _enter_bodies(history: History, reads: Reads, fleet: dict[str, Any]) -> None:
    """Both bodies of the altered events that a final read kept."""
    for view, read in reads.views.items():
        history.found_bodies.update({(view, Key.parse(text)): body for text, body in read.altered.items()})
    if history.found_bodies and history.ledger is not None:
        keys = {key for _, key in history.found_bodies}
        history.expected_bodies = expected_bodies(fleet, history.ledger, keys)


class _Lab(msgspec.Struct):
    fleet: dict[str, Any] = {}


class _WithLab(msgspec.Struct):
    lab: _Lab = msgspec.field(default_factory=_Lab)


def _fleet(plan_content: bytes) -> dict[str, Any]:
    """The fleet's values as the lab wrote them into the plan; empty where the run is no lab's."""
    try:
        return msgspec.json.decode(plan_content, type=_WithLab).lab.fleet
    except msgspec.ValidationError:
        return {}


def _patience(history: History) -> Patience | None:
    """The earliest moment from which any view could be late; None when none can."""
    events = [view for view in history.views if view.read is not None]
    since = [view.earliest_calm_ms for view in events if view.earliest_calm_ms is not None]
    if not since:
        return None
    return Patience(min(since), int(min(view.deadline_s for view in events) * 1000))


@contextmanager
def _without_collector() -> Iterator[None]:
    """Millions of small values without cycles: the cycle collector would take most of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _bytes(folder: Path) -> bytes:
    path = folder / PLAN_FILE_NAME
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise SettingsError(
            f"{folder} is no run folder: it has no {PLAN_FILE_NAME}; name one such as runs/<time>-<name>"
        ) from None
    except NotADirectoryError:
        raise SettingsError(f"{folder} is a file, no run folder; name a folder such as runs/<time>-<name>") from None
    except OSError as error:
        raise SettingsError(f"run folder {folder} cannot be read: {error.strerror}; check its permissions") from error


def _decode(path: Path, content: bytes, shape: type[File]) -> File:
    """Decode a versioned file; a newer version is refused before its fields are looked at."""
    try:
        head = msgspec.json.decode(content, type=_Head)
        if head.version > RUN_VERSION:
            raise SettingsError(
                f"{path} has format version {head.version}; this storefleet reads up to {RUN_VERSION}:"
                " use the storefleet that wrote it, or a newer one"
            )
        if head.format != shape().format:
            raise SettingsError(f"{path} has format {head.format!r}, not {shape().format!r}")
        return msgspec.json.decode(content, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}; use an undamaged run folder") from error


class _Head(msgspec.Struct):
    format: str = ""
    version: int = 0


def _ledger(path: Path, notes: list[Note]) -> Ledger | None:
    if not path.is_file():
        notes.append(("ledger_missing", path.name))
        return None
    try:
        return read_ledger(path)
    except StorageError as error:
        notes.append(("ledger_unreadable", str(error)))
        return None


def _reads(path: Path, notes: list[Note]) -> Reads:
    """The final reads; none where the run did not come so far. A newer format is refused like everywhere."""
    try:
        content = path.read_bytes()
    except OSError:
        return Reads()
    try:
        msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        notes.append(("read_broken", f"{path.name}: {error}"))
        return Reads()
    return _decode(path, content, Reads)


def _stage(plan: Plan, index: int) -> StageRecord:
    step = plan.steps[index]
    dead = step.stage in plan.dead_stages
    return StageRecord(
        step=step.step,
        stage=step.stage,
        hop_before=step.hop_before,
        after=step.after,
        witnessed=step.witnessed and not step.foreign,
        foreign=step.foreign,
        alive_at_end=not dead,
        undecided_until_ms=FOREVER_MS if dead else 0,
    )


def _view(plan: Plan, view: JourneyView, read: FinalRead | None) -> ViewRecord:
    record = ViewRecord(
        view=view.view,
        step=view.step,
        hop=view.hop,
        holds=view.holds,
        types=view.types,
        counted_types=view.counted_types,
        deadline_s=plan.deadlines_s.get(view.view, plan.deadline_s),
    )
    _enter_read(record, read)
    return record


def _enter_timelines(history: History) -> None:
    """A view that belongs to a stage holds nothing that the stage has not taken."""
    stages = {stage.step: stage for stage in history.stages}
    for view in history.views:
        stage = stages.get(view.step)
        if stage is not None and not view.hop:
            view.timeline = stage.timeline
            view.undecided_until_ms = stage.undecided_until_ms


def _enter_read(record: ViewRecord, read: FinalRead | None) -> None:
    if read is None:
        return
    record.read = read.events
    record.registers_found = read.registers
    record.registers_expected = read.registers_expected
    record.healed_at_ms = read.healed_at_ms
    record.calm_since_ms = read.calm_since_ms
    record.calm_earlier = read.calm_earlier
    record.converged_at_ms = read.converged_at_ms
    record.read_at_ms = read.at_ms
    record.begun_at_ms = read.begun_at_ms
    if read.unreached is not None:
        record.unreached = {source: IntervalSet(intervals) for source, intervals in read.unreached.items()}
    if read.totals is not None:
        record.totals_found = {(store, day): (count, cents) for store, day, count, cents in read.totals}


def write_verdict(folder: Path, verdict: Verdict, name: str) -> None:
    """Write the verdict's three files; raises StorageError where the folder cannot be written."""
    files = {
        VERDICT_FILE_NAME: msgspec.json.format(msgspec.json.encode(verdict), indent=2),
        JUNIT_FILE_NAME: junit(verdict, name),
        REPORT_FILE_NAME: plain_text(verdict, name).encode(),
    }
    try:
        for file_name, content in files.items():
            (folder / file_name).write_bytes(content)
    except OSError as error:
        (folder / file_name).unlink(missing_ok=True)  # half a file would be worse than none
        raise StorageError(
            f"cannot write the verdict into {folder}: {error.strerror}; judge it again: storefleet verdict {folder}"
        ) from error
