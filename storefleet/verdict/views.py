"""One view's own judgement: its registers and totals by value, and its time from healed to converged.

Registers are wrong only if they had the whole deadline to become right, since calm (or healing) and since the terminals
last changed. A deadline that only the machine's own standstill (:mod:`storefleet.verdict.machine`) let pass is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import compress, groupby

import msgspec

from fleetwire.content import HASH_BYTES
from fleetwire.identity import Terminal
from fleetwire.intervals import IntervalSet
from fleetwire.witness import ViewRead
from storefleet.verdict.classify import NO_READ, Judged, by_source
from storefleet.verdict.history import History, Ledger, SourceLedger, Total, ViewRecord
from storefleet.verdict.lateness import late, late_after_reads
from storefleet.verdict.machine import Cause, Standstill, figures, total_ms
from storefleet.verdict.result import (
    EXAMPLE_LIMIT,
    Example,
    Invalid,
    Unknown,
    ViewAccount,
    invalid,
    unknown,
    validity,
)

EMULATOR = "emulator"
"""Whose ledger is the truth about registers."""
STOOD_STILL_MS = 1_000
"""Of so long a standstill of the emulator a register may differ; less is a pause that every process has."""
WRONG_CLASSES = ("lost", "corrupted", "duplicated", "unexpected", "never_read")


@dataclass(slots=True)
class Judgement:
    """An account with the reasons behind it."""

    account: ViewAccount
    invalid: list[Invalid] = field(default_factory=list)
    unknown: list[Unknown] = field(default_factory=list)


def rows_that_do_not_fit(read: ViewRead, count: int) -> str:
    """What has not eight bytes for each of so many numbers; '' where all has, or says nothing."""
    wanted = HASH_BYTES * count
    if not read.others and {len(read.hashes), len(read.effects), len(read.applied_at_ms)} <= {0, wanted}:
        return ""
    for row in ("hashes", "effects", "applied_at_ms"):
        length = len(getattr(read, row))
        if length not in (0, wanted):
            return f"{length} bytes of {row} for {wanted // HASH_BYTES} events"
    if any(len(content) != HASH_BYTES for _, content in read.others):
        return f"another content that is no hash of {HASH_BYTES} bytes"
    return ""


def broken_read(view: ViewRecord) -> str:
    """What makes a final read contradict itself; '' for a sound one."""
    for source, read in (view.read or {}).items():
        count = _count(read.intervals)
        if count < 0:
            return f"the intervals of {source} overlap or are not ascending"
        if problem := rows_that_do_not_fit(read, count):
            return f"{source}: {problem}"
    return ""


def _count(intervals: list[tuple[int, int]]) -> int:
    """How many numbers; -1 where they overlap or do not ascend."""
    count = last = 0
    for low, high in intervals:
        if not last < low <= high:
            return -1
        count += high - low + 1
        last = high
    return count


def judge_view(history: History, view: ViewRecord, judged: Judged) -> Judgement:
    """Judge one view; losses are counted over all views elsewhere, what only this view can say is here."""
    account = ViewAccount(
        view=view.view, validity="valid", read=view.was_read, deadline_ms=round(view.deadline_s * 1000)
    )
    result = Judgement(account)
    if not view.was_read:
        result.unknown.append(unknown("no_final_read", view.view))
        account.validity = "unknown"
        return result
    wrong = 0
    if view.holds == "events":
        account.counts = dict(judged.by_view[view.view].counts)
        account.by_value = any(read.hashes for read in (view.read or {}).values())
        account.lateness_judged = _lateness_judged(view)
        wrong = sum(account.counts[name] for name in WRONG_CLASSES)
        _judge_totals(history, view, judged, result)
        if mistimed := judged.mistimed.get(view.view):
            result.unknown.append(
                unknown("times_contradict", f"{view.view}: {min(mistimed)} ({len(mistimed):,} in all)")
            )
    registers_wrong = _judge_registers(view, account)
    standstill = Standstill(history.stalls, history.machine)
    _judge_time(standstill, view, result, right=not wrong and not registers_wrong)
    if view.holds == "registers" and account.difference_count:
        detail = f"{view.view}: {account.difference_count:,} of {len(view.registers_expected):,} registers"
        _decide(result, "registers_differ", detail, _excuse_registers(history, standstill, view, detail))
    if stale := account.counts.get("stale", 0):
        detail = f"{view.view}: {stale:,} events"
        _decide(result, "stale", detail, _excuse_stale(history, standstill, view, judged, detail))
    lost = sum(account.counts.get(name, 0) for name in WRONG_CLASSES[:4])
    account.validity = validity(
        bad=bool(result.invalid or lost or _lacks_unanswered(view, judged)),
        unsure=bool(result.unknown or account.counts.get("never_read", 0)),
    )
    return result


def _lateness_judged(view: ViewRecord) -> bool:
    """Whether the view says when it applied all that it holds, or its stage what it had seen when."""
    return (
        view.reported
        or bool(view.timeline)
        or all(read.applied_at_ms or not read.intervals for read in (view.read or {}).values())
    )


def _lacks_unanswered(view: ViewRecord, judged: Judged) -> bool:
    """Whether it lacks an event that had its whole deadline and got no outcome."""
    lacking = judged.by_view[view.view].sets.get("never_read", {}) if view.view in judged.by_view else {}
    overdue = judged.unanswered.overdue
    return any(members.intersection(overdue[source]) for source, members in lacking.items() if source in overdue)


def _judge_registers(view: ViewRecord, account: ViewAccount) -> bool:
    """Compare registers by value, both ways."""
    if view.registers_found is None:
        return False
    for name in _wrong_registers(view):
        _differ(account, view.view, name, view.registers_expected.get(name), view.registers_found.get(name))
    return account.difference_count > 0


def _differ(account: ViewAccount, view: str, name: str, expected: object, found: object) -> None:
    account.difference_count += 1
    if len(account.differences) < EXAMPLE_LIMIT:
        texts = [value if isinstance(value, str) else _text(value) for value in (expected, found)]
        account.differences.append(Example(name=name, view=view, expected=texts[0], found=texts[1]))


def _text(value: object) -> str:
    return "absent" if value is None else msgspec.json.encode(value).decode()


def _judge_totals(history: History, view: ViewRecord, judged: Judged, result: Judgement) -> None:
    """Totals must be those of the events that the view holds, each once, at the ledger's amounts. A day on which a store
    sold nothing has none, not even zero."""
    if view.totals_found is None:
        return
    expected = expected_totals(history, view)
    unsure = {Terminal.parse(source).store_id for source in judged.holes}
    for store, day in sorted(expected.keys() | view.totals_found.keys()):
        ours, theirs = expected.get((store, day)), view.totals_found.get((store, day))
        if ours != theirs and store not in unsure:
            _differ(result.account, view.view, f"{store} {day}", _total_text(ours), _total_text(theirs))
    if result.account.difference_count:
        count = result.account.difference_count
        result.invalid.append(invalid("totals_differ", f"{view.view}: {count:,} of {len(expected):,}"))


def _total_text(total: Total | None) -> str:
    return "absent" if total is None else f"{total[0]} for {total[1]} cents"


def expected_totals(history: History, view: ViewRecord) -> dict[tuple[str, str], Total]:
    """(store, business day) -> count and cents over the events of ``counted_types`` that the view holds.

    The rule is :func:`fleetwire.amounts.sales_contribution`, as the ledger wrote it down: training counts nothing.
    """
    result: dict[tuple[str, str], Total] = {}
    ledger = history.ledger
    if ledger is None or view.read is None:
        return result
    counted = bytes(code < len(ledger.types) and ledger.types[code] in view.counted_types for code in range(256))
    for source, entries in ledger.sources.items():
        read = view.read.get(source)
        if read is None:
            continue
        store = Terminal.parse(source).store_id
        counts = _counted(entries, read, counted)
        start = 0
        for code, run in groupby(entries.days):
            end = start + len(list(run))
            number = counts.count(1, start, end)
            if number:
                key = store, ledger.days[code]
                count, cents = result.get(key, (0, 0))
                result[key] = count + number, cents + sum(compress(entries.amounts_cents[start:end], counts[start:end]))
            start = end
    return result


def _counted(entries: SourceLedger, read: ViewRead, counted: bytes) -> bytearray:
    """For each event of the ledger, in its order, 1 if the view holds it and it counts as a sale, else 0."""
    result = entries.types.translate(counted)
    for sequence in entries.uncounted:
        result[entries.position(sequence)] = 0
    if read.intervals == entries.sequences.to_list():
        return result
    for first, last in entries.sequences.difference(IntervalSet(read.intervals)):
        start = entries.position(first)
        result[start : start + last - first + 1] = bytes(last - first + 1)
    return result


def _judge_time(standstill: Standstill, view: ViewRecord, result: Judgement, *, right: bool) -> None:
    """From healed to converged, against the deadline, less what the machine stood still."""
    if view.healed_at_ms is None:
        result.unknown.append(unknown("not_healed", view.view))
        return
    account = result.account
    until = view.converged_at_ms if view.converged_at_ms is not None else view.read_at_ms
    if until is None:
        if right and view.healed_at_ms:
            result.unknown.append(unknown("convergence_unmeasured", view.view))
        return
    elapsed = max(0, until - view.healed_at_ms)
    if right:
        account.healed_to_converged_ms = elapsed
    account.stalled_by_cause = standstill.by_cause(view.healed_at_ms, until)
    account.stalled_ms = total_ms(account.stalled_by_cause)
    if right and elapsed > account.deadline_ms:
        if view.converged_at_ms is None and view.undecided_until_ms >= until:  # no witness could have seen it converge
            result.unknown.append(unknown("convergence_unmeasured", view.view))
        else:
            _late(result, elapsed)


def _late(result: Judgement, elapsed_ms: int) -> None:
    account = result.account
    detail = f"{account.view}: {elapsed_ms:,} ms, deadline {account.deadline_ms:,} ms"
    if elapsed_ms - account.stalled_ms <= account.deadline_ms:
        result.unknown.append(stalled(detail, "of them", account.stalled_by_cause))
    else:
        result.invalid.append(invalid("late", detail))


def stalled(detail: str, when: str, by_cause: dict[Cause, float]) -> Unknown:
    """A deadline was missed while the machine stood still, for these causes."""
    still = f"the machine stood still for {total_ms(by_cause):,.0f} ms {when}: {figures(by_cause)}"
    return unknown("machine_stalled", f"{detail}; {still}")


def _decide(result: Judgement, code: str, detail: str, excuse: Unknown | None) -> None:
    if excuse is None:
        result.invalid.append(invalid(code, detail))
    else:
        result.unknown.append(excuse)


def _excuse_registers(history: History, standstill: Standstill, view: ViewRecord, detail: str) -> Unknown | None:
    """What took the time in which registers that differ could have become right; None: nothing did."""
    if view.follows:
        return None
    if view.healed_at_ms is None:
        return unknown("not_healed", detail)
    if view.read_at_ms is None:
        return unknown("aborted", detail) if history.aborted else None
    asked_ms = view.asked_at_ms or view.read_at_ms
    if not _contradicts_itself(view) and (why := _truth_unsure(history, view, asked_ms)):
        return unknown("registers_unknown", f"{detail}; {why}")
    since_ms = _registers_still_since_ms(history, view)
    left_ms = asked_ms - since_ms - round(view.deadline_s * 1000)
    if left_ms < 0:
        return unknown("aborted" if history.aborted else "read_too_soon", detail)
    still = standstill.by_cause(since_ms, asked_ms)
    return stalled(detail, "meanwhile", still) if total_ms(still) > left_ms else None


def _contradicts_itself(view: ViewRecord) -> bool:
    """Whether a client got something else in another way: registers named by a path were held against the view's own."""
    return any(name.startswith("/") for name in _wrong_registers(view))


def _truth_unsure(history: History, view: ViewRecord, asked_ms: int) -> str:
    """Why the ledger is no truth about registers, in words; '' where it is.

    Who writes it did not run: the broker publishes the wills of terminals that are silent for long, and nobody notes it.
    What it had no whole deadline to note after it ran again is not known either.
    """
    if EMULATOR in history.unheard_stages:
        return f"the {EMULATOR}, which writes down what they are, did not answer before the read"
    from_ms, until_ms = asked_ms - round(view.deadline_s * 1000), view.read_at_ms or asked_ms
    still_ms = sum(
        stall.duration_ms
        for stall in history.stalls
        if stall.process.rpartition("-")[0] == EMULATOR
        and stall.duration_ms >= STOOD_STILL_MS
        and stall.at_ms < until_ms
        and stall.at_ms + stall.duration_ms > from_ms
    )
    if not still_ms:
        return ""
    return f"the {EMULATOR}, which writes down what they are, stood still for {still_ms:,.0f} ms of the deadline before"


def _registers_still_since_ms(history: History, view: ViewRecord) -> int:
    """Since when nothing excuses the registers that differ: calm, the view as it is, and no terminal behind them changed."""
    assert view.punctual_from_ms is not None
    wrong = _wrong_registers(view)
    if view.registers_changed_ms is not None:
        changes = [view.registers_changed_ms.get(name, 0) for name in wrong]
    else:  # a run of a storefleet that did not say: as the ledger was at the very end
        registers = history.ledger.registers if history.ledger else {}
        names = set(wrong)
        changes = [
            register.at_ms
            for terminal, register in registers.items()
            if terminal in names or terminal.rpartition(".")[0] in names
        ]
    return max(view.punctual_from_ms, view.begun_at_ms, *changes, 0)


def _wrong_registers(view: ViewRecord) -> list[str]:
    found = view.registers_found or {}
    if found == view.registers_expected:
        return []
    names = view.registers_expected.keys() | found.keys()
    return sorted(name for name in names if view.registers_expected.get(name) != found.get(name))


def _excuse_stale(
    history: History, standstill: Standstill, view: ViewRecord, judged: Judged, detail: str
) -> Unknown | None:
    """The machine, if no stale event stays late when the time that it stood still does not count."""
    still = standstill.by_cause(view.earliest_calm_ms or 0, view.read_at_ms or float("inf"))
    if not still:
        return None
    deadline_ms = view.deadline_s * 1000
    timeline = by_source(view.timeline)
    ledger = history.ledger or Ledger()

    def running_limit_ms(at_ms: int) -> int:
        return standstill.running_limit_ms(at_ms, deadline_ms)

    for source, members in judged.by_view[view.view].sets["stale"].items():
        entries, read = ledger.sources[source], (view.read or {}).get(source, NO_READ)
        truly = late(view, entries, read, timeline.get(source, []), running_limit_ms)
        truly.update(late_after_reads(view, entries, members, running_limit_ms))
        if truly.intersection(members):
            return None
    return stalled(detail, "meanwhile", still)
