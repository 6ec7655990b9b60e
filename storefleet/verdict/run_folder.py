"""A run folder, offline: read into a history, judged, and the verdict written beside it.

What makes the folder no run folder (unreadable, no plan, a newer format) is a SettingsError of one line; what merely
was not recorded (no ledger, no witnesses, no final reads) makes the verdict unknown with its reason.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from fleetwire import bounded_json
from fleetwire.errors import SettingsError, StorageError
from fleetwire.identity import Key
from fleetwire.intervals import IntervalSet
from fleetwire.ledger_format import LEDGER_FILE_NAME
from fleetwire.plain_words import plain
from storefleet.folders import printable
from storefleet.verdict.check import check
from storefleet.verdict.expected_bodies import expected_bodies, planted_contents
from storefleet.verdict.history import FOREVER_MS, History, Intervention, Ledger, Skip, StageRecord, ViewRecord
from storefleet.verdict.incidents import incidents
from storefleet.verdict.journey import JourneyView
from storefleet.verdict.junit import junit
from storefleet.verdict.lab_record import LabRecord, account_faults, lab_record
from storefleet.verdict.ledger_file import read_ledger
from storefleet.verdict.letter_file import LETTERS_FILE_NAME, read_letters
from storefleet.verdict.letters import replayable
from storefleet.verdict.log_file import LOG_FILE_NAME, read_log
from storefleet.verdict.packed_file import evidence_bytes, has_evidence, read_evidence
from storefleet.verdict.plan_check import BrokenPlan, usable
from storefleet.verdict.reads_file import read_views
from storefleet.verdict.result import NAMED_LETTER_LIMIT, RunAccount, Unknown, Verdict, unknown
from storefleet.verdict.run_format import (
    CHECK_PHASE,
    JUNIT_FILE_NAME,
    PLAN_FILE_NAME,
    PLAN_FORMAT,
    READS_FILE_NAME,
    READS_FORMAT,
    REPORT_FILE_NAME,
    RUN_VERSION,
    SLIMMED_VERSION,
    VERDICT_FILE_NAME,
    WITNESSES_FILE_NAME,
    FinalRead,
    Plan,
    Reads,
)
from storefleet.verdict.sealing import broken_seal
from storefleet.verdict.seen_times import enter_times
from storefleet.verdict.table import plain_text
from storefleet.verdict.witness_file import Patience, enter_witnesses
from storefleet.verdict.witnesses_header import read_header

_log = logging.getLogger(__name__)

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


def judge(folder: Path, allow: Mapping[str, int] = MappingProxyType({})) -> tuple[Verdict, Plan]:
    """The verdict on a run folder and its plan, with nothing written; raises SettingsError for what is no run folder.

    ``allow``: budgets that take the place of the run's own. Whatever else is wrong with what is read makes the verdict
    unknown, and is named in it.
    """
    content = _bytes(folder)
    _require_ours(folder / PLAN_FILE_NAME, content, PLAN_FORMAT, SLIMMED_VERSION)
    plan = Plan(name=folder.name)
    with _without_collector():
        try:
            plan = _plan(folder, content)
            history = _read_run(folder, plan, content)
        except BrokenPlan as error:
            verdict = _nothing_but(unknown("plan_broken", str(error)))
        except SettingsError:
            raise
        except Exception as error:  # noqa: BLE001 - a run always ends with a verdict
            _log.exception("the run folder could not be read; the verdict is unknown")
            verdict = _nothing_but(unknown("checker_failed", f"while reading: {type(error).__name__}: {error}"))
        else:
            history.allow = {**history.allow, **allow}
            verdict = check(history)
            _enter_times(verdict, folder, plan)
    if not verdict.run.folder:
        verdict.run = RunAccount(name=plan.name or folder.name, folder=shown(folder))
    verdict.views_not_judged = [view[:80] for view in plan.views_not_judged]
    verdict.refused_reports = {who: count for who, count in plan.refused_reports.items() if count > 0}
    return verdict, plan


def _enter_times(verdict: Verdict, folder: Path, plan: Plan) -> None:
    """A verdict stands without them."""
    try:
        enter_times(verdict, folder, plan)
    except Exception:  # noqa: BLE001 - a run always ends with a verdict
        _log.exception("when events were seen could not be read")


def _nothing_but(reason: Unknown) -> Verdict:
    return Verdict(validity="unknown", unknown=[reason])


def read_run(folder: Path) -> tuple[History, Plan]:
    """The history of a run folder, and its plan; raises SettingsError for what is no run folder of ours."""
    plan, content = read_plan(folder)
    with _without_collector():
        return _read_run(folder, plan, content), plan


def read_plan(folder: Path) -> tuple[Plan, bytes]:
    """The plan of a run folder, and all that its file says; raises SettingsError for what is no plan that we read."""
    content = _bytes(folder)
    _require_ours(folder / PLAN_FILE_NAME, content, PLAN_FORMAT, SLIMMED_VERSION)
    return _plan(folder, content), content


def _plan(folder: Path, content: bytes) -> Plan:
    """Raises BrokenPlan."""
    try:
        return bounded_json.decode(content, type=Plan)
    except msgspec.DecodeError as error:
        raise BrokenPlan(
            f"{folder / PLAN_FILE_NAME} cannot be read: {plain(error)}; use an undamaged run folder"
        ) from error


def _read_run(folder: Path, plan: Plan, content: bytes) -> History:
    notes: list[Note] = [("plan_broken", detail) for detail in usable(plan)]
    history = _read_files(folder, plan, content, notes)
    notes += broken_seal(folder, plan, content, history.ledger)
    return history


def _read_files(folder: Path, plan: Plan, content: bytes, notes: list[Note]) -> History:
    reads = _reads(folder / READS_FILE_NAME, notes)
    told_until_ms = _told_until_ms(plan, reads)
    history = History(
        ledger=_ledger(folder / LEDGER_FILE_NAME, notes, reads.told_until_row),
        witnessed_bytes=reads.witnessed_bytes,
        told_until_ms=told_until_ms,
        ended_ms=_ended_ms(plan),
        stages=[_stage(plan, index) for index in range(len(plan.steps))],
        unheard_stages=frozenset(plan.unheard_stages),
        stalls=plan.stalls,
        machine=plan.machine,
        aborted=plan.aborted,
        interrupted=plan.interrupted,
        drains=plan.drains,
        allowed_rejections=frozenset(plan.allowed_rejections),
        notes=notes,
        broker=plan.broker,
    )
    notes += _outcomes_missing(history.ledger, reads)
    history.views = [_view(plan, view, reads.views.get(view.view), notes) for view in plan.views]
    if _witnesses_are_ours(folder / WITNESSES_FILE_NAME, plan, notes):
        _enter_witnesses(history, folder / WITNESSES_FILE_NAME, reads, notes)
    _enter_timelines(history)
    record = lab_record(content)
    _enter_story(history, folder, plan, record)
    _enter_letters(history, folder / LETTERS_FILE_NAME, plan, reads, record)
    _enter_bodies(history, reads, record.lab.fleet)
    return history


def _enter_witnesses(history: History, path: Path, reads: Reads, notes: list[Note]) -> None:
    try:
        enter_witnesses(history, path, _patience(history))
        lacking = (reads.witnessed_bytes or 0) - evidence_bytes(path)
    except OSError as error:
        notes.append(("evidence_missing", f"{path.name} cannot be read to its end: {error.strerror}"))
        return
    if lacking > 0:
        notes.append(("evidence_missing", f"{path.name} lacks {lacking:,} bytes that the lab had written"))


def _enter_story(history: History, folder: Path, plan: Plan, record: LabRecord) -> None:
    """Which run it is, and what was done to it and happened to it, which may be the reason of what is found."""
    history.run = RunAccount(
        name=plan.name or folder.name,
        folder=shown(folder),
        started_at_ms=plan.started_at_ms,
        ended_at_ms=history.ended_ms or 0,
        stores=record.lab.stores,
        terminals=record.lab.terminals,
        seed=plan.seed,
        rate_per_s=record.lab.rate_per_s,
    )
    history.faults = account_faults(record.faults)
    history.incidents = incidents(history.faults, plan.stalls, read_log(folder / LOG_FILE_NAME))
    history.restarts = plan.restarts
    history.allow = plan.allow


def shown(folder: Path) -> str:
    """A folder as whoever is in this one would name it."""
    try:
        here = Path.cwd()
    except OSError:  # it is gone, so nothing lies below it
        return printable(folder)
    whole = folder.absolute()
    return printable(whole.relative_to(here) if whole.is_relative_to(here) else whole)


def _witnesses_are_ours(path: Path, plan: Plan, notes: list[Note]) -> bool:
    """Whether there are witnesses of this run; a note where there are none. Raises SettingsError for a newer version."""
    if not has_evidence(path):
        notes.append(("witnesses_missing", path.name))
        return False
    try:
        header = read_header(path)
    except OSError as error:
        notes.append(("witnesses_missing", f"{path.name}: {error.strerror}"))
        return False
    if header is not None and (header.run, header.started_at_ms) != (plan.name, plan.started_at_ms):
        other = f"they are of {header.run[:80]!r}, begun at {header.started_at_ms} ms"
        notes.append(
            ("witnesses_of_another_run", f"{other}, not of {plan.name[:80]!r}, begun at {plan.started_at_ms} ms")
        )
        return False
    return True


def _outcomes_missing(ledger: Ledger | None, reads: Reads) -> list[Note]:
    """Where the newest outcomes are gone, the ledger's own rows do not tell; the reads do."""
    newest_row = ledger.tables["outcome"].newest_row if ledger is not None else None
    if newest_row is None or newest_row >= (reads.told_until_row or 0):
        return []
    return [("evidence_missing", f"the ledger's newest outcome is row {newest_row:,}; it had {reads.told_until_row:,}")]


def _ended_ms(plan: Plan) -> int | None:
    """The last phase's end, or the beginning of the check; later as far as the host's clock was set ahead meanwhile."""
    if not plan.phases:
        return None
    last = plan.phases[-1]
    end_ms = last.from_ms if last.name == CHECK_PHASE else last.until_ms
    ahead_ms = sum(max(0, step.step_ms) for step in plan.machine.clock_steps) if plan.machine is not None else 0
    return end_ms + round(ahead_ms) if end_ms else None


def _told_until_ms(plan: Plan, reads: Reads) -> int | None:
    """When the first view of events was asked."""
    events = [reads.views[view.view] for view in plan.views if view.holds == "events" and view.view in reads.views]
    return min((read.asked_at_ms or read.at_ms for read in events if read.events is not None), default=None)


def _enter_letters(history: History, path: Path, plan: Plan, reads: Reads, record: LabRecord) -> None:
    """The dead letters, and all that can explain them besides the ledger."""
    history.letters = read_letters(path)
    history.untrue_messages = plan.untrue_messages
    history.untrue_documents = {name: count for read in reads.views.values() for name, count in read.untrue.items()}
    if plan.letters and history.letters is None:
        history.notes.append(("letters_missing", path.name))
    steps = {view.view: view.step for view in plan.views}
    for view, read in reads.views.items():
        rows = (msgspec.to_builtins(skip) for skip in read.skips)
        history.skips += [Skip(steps.get(view, view), **_words(row)) for row in rows if isinstance(row, dict)]
    history.interventions = [Intervention(one.what, one.at_ms) for one in record.commands]
    history.interventions += [Intervention(one.type, one.begin_ms) for one in record.faults]


def _words(row: dict[str, Any]) -> dict[str, str]:
    return {name: str(row.get(name, "")) for name in ("id", "reason", "detail")}


def _enter_bodies(history: History, reads: Reads, fleet: dict[str, Any]) -> None:
    """Both bodies of the altered events that a final read kept, and what was sent where a dead letter holds an event."""
    for view, read in reads.views.items():
        history.found_bodies.update({(view, Key.parse(text)): body for text, body in read.altered.items()})
    if history.ledger is None:
        return
    conflicts, strange = replayable(history, NAMED_LETTER_LIMIT)
    conflicts |= _seen_beside(history, history.ledger)
    keys = {key for _, key in history.found_bodies} | strange
    if keys:
        history.expected_bodies = expected_bodies(fleet, history.ledger, keys)
    if conflicts:
        history.planted_contents = planted_contents(fleet, history.ledger, conflicts)


def _seen_beside(history: History, ledger: Ledger) -> set[Key]:
    """Planted conflicts beside which a view has seen another content."""
    return {
        Key(source, number)
        for view in history.views
        for source, read in (view.read or {}).items()
        if read.others and source in ledger.sources
        for number, _ in read.others
        if number in ledger.sources[source].conflicts
    }


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


def _require_ours(path: Path, content: bytes, file_format: str, newest: int = RUN_VERSION) -> None:
    """Raises SettingsError for what is no file of this format, or one of a newer version, whatever else it says."""
    try:
        head = bounded_json.decode(content, type=_Head)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {plain(error)}; use an undamaged run folder") from error
    if head.version > newest:
        raise SettingsError(
            f"{path} has format version {head.version}; this storefleet reads up to {newest}:"
            " use the storefleet that wrote it, or a newer one"
        )
    if head.format != file_format:
        raise SettingsError(f"{path} has format {head.format!r}, not {file_format!r}")


class _Head(msgspec.Struct):
    format: str = ""
    version: int = 0


def _ledger(path: Path, notes: list[Note], told_until_row: int | None) -> Ledger | None:
    if not path.is_file():
        notes.append(("ledger_missing", path.name))
        return None
    try:
        return read_ledger(path, told_until_row=told_until_row)
    except StorageError as error:
        notes.append(("ledger_unreadable", str(error)))
        return None


def _reads(path: Path, notes: list[Note]) -> Reads:
    """The final reads; none where the run did not come so far. A newer format is refused like everywhere."""
    try:
        content = read_evidence(path)
    except OSError:
        return Reads()
    try:
        _require_ours(path, content, READS_FORMAT)
    except SettingsError:
        if _is_newer(content):
            raise
    return read_views(path, content, notes)


def _is_newer(content: bytes) -> bool:
    try:
        return bounded_json.decode(content, type=_Head).version > RUN_VERSION
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


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


def _view(plan: Plan, view: JourneyView, read: FinalRead | None, notes: list[Note]) -> ViewRecord:
    record = ViewRecord(
        view=view.view,
        step=view.step,
        hop=view.hop,
        holds=view.holds,
        types=view.types,
        counted_types=view.counted_types,
        by_value=view.by_value,
        by_effect=view.by_effect,
        timed=view.timed,
        named_by=view.named_by,
        follows=view.follows,
        heard=view.heard,
        deadline_s=plan.deadlines_s.get(view.view, plan.deadline_s),
    )
    _enter_read(record, read, notes)
    record.clock_steps = plan.machine.clock_steps if plan.machine is not None else []
    return record


def _enter_timelines(history: History) -> None:
    """A view that belongs to a stage holds nothing that the stage has not taken."""
    stages = {stage.step: stage for stage in history.stages}
    for view in history.views:
        stage = stages.get(view.step)
        if stage is not None and not view.hop:
            view.timeline = stage.timeline
            view.undecided_until_ms = stage.undecided_until_ms
            view.reported = stage.witnessed and stage.last_report_ms is not None


def _enter_read(record: ViewRecord, read: FinalRead | None, notes: list[Note]) -> None:
    if read is None:
        return
    record.read = read.events
    record.registers_found = read.registers
    record.registers_expected = read.registers_expected
    if read.asked_at_ms:
        record.registers_changed_ms = read.registers_changed_ms
    record.asked_at_ms = read.asked_at_ms or None
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
        if len(record.totals_found) < len(read.totals):
            notes.append(("read_broken", f"{record.view}: a day's total is there more than once"))


def write_verdict(folder: Path, verdict: Verdict, name: str) -> None:
    """Write the verdict's three files; raises StorageError where the folder cannot be written."""
    report = plain_text(verdict, name)
    files = {
        VERDICT_FILE_NAME: msgspec.json.format(msgspec.json.encode(verdict), indent=2),
        JUNIT_FILE_NAME: junit(verdict, name, report),
        REPORT_FILE_NAME: report.encode(),
    }
    try:
        for file_name, content in files.items():
            (folder / file_name).write_bytes(content)
    except OSError as error:
        (folder / file_name).unlink(missing_ok=True)  # half a file would be worse than none
        raise StorageError(
            f"cannot write the verdict into {folder}: {error.strerror}; judge it again: storefleet verdict {folder}"
        ) from error
