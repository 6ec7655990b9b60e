"""From a history to a verdict. A pure function: same history, same verdict; nothing is read or written.

Loss, duplication and corruption are never excused. A deadline is judged by the time that the machine really gave: what
it stood still does not count. A verdict is valid only if every view that is there was read and nothing speaks
against it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

from msgspec.structs import asdict

from fleetwire.intervals import IntervalSet
from storefleet.verdict.addresses import account_places
from storefleet.verdict.blame import Attempts, healed
from storefleet.verdict.budgets import account_budgets, judge_budgets
from storefleet.verdict.classify import CLASSES, Classes, Judged, classify, rejected_unexpectedly
from storefleet.verdict.examples import examples
from storefleet.verdict.findings import Found, findings
from storefleet.verdict.history import History, SourceLedger, ViewRecord
from storefleet.verdict.letters import judge_letters
from storefleet.verdict.machine import Standstill, total_ms
from storefleet.verdict.missing_evidence import ledger_gaps, missing_evidence
from storefleet.verdict.result import (
    TROUBLE_LIMIT,
    ClassAccount,
    Invalid,
    MachineAccount,
    PlaceAccount,
    Unknown,
    Verdict,
    invalid,
    unknown,
    validity,
)
from storefleet.verdict.unanswered import without_outcome
from storefleet.verdict.views import broken_read, judge_view, stalled

logger = logging.getLogger(__name__)
FATAL_CLASSES = ("lost", "corrupted", "duplicated", "unexpected")


def check(history: History) -> Verdict:
    """Judge a history. Never raises for what a history says: where the checker itself fails, the verdict is unknown."""
    try:
        return _check(history)
    except Exception as error:
        logger.exception("the checker failed; the verdict is unknown")
        return Verdict(validity="unknown", unknown=[unknown("checker_failed", f"{type(error).__name__}: {error}")])


def _check(history: History) -> Verdict:
    history = _with_what_was_dropped(_without_broken_reads(history))
    verdict = Verdict(validity="unknown", run=history.run, faults=history.faults, restarts=history.restarts)
    verdict.troubles = [one.words for one in history.incidents if one.kind == "trouble"][:TROUBLE_LIMIT]
    if history.ledger is None:  # without the truth nothing that was found is wrong, and nothing right
        verdict.unknown = list(_unknowns(replace(history, views=[]), Judged(Classes(), {})))
        return verdict
    judged = classify(history)
    verdict.sent, verdict.invented, verdict.broker = judged.sent, judged.invented, history.broker
    verdict.broken_lines = history.broken_lines
    verdict.machine = _machine(history)
    verdict.counts = {name: judged.overall.counts[name] for name in CLASSES}
    places = account_places(history, judged)
    verdict.classes = {
        name: ClassAccount(count=judged.overall.counts[name], examples=examples(history, judged, places, name))
        for name in CLASSES[:-1]
        if judged.overall.counts[name]
    }
    judgements = [judge_view(history, view, judged) for view in history.views]
    verdict.views = [judgement.account for judgement in judgements]
    attempts = healed(history)
    _account_attempts(history, verdict, attempts, places.accounts())
    _account_rejections(history, verdict)
    verdict.invalid = [*_bad_classes(verdict), *_unanswered(judged), *(i for j in judgements for i in j.invalid)]
    verdict.unknown = [*_unknowns(history, judged), *(u for j in judgements for u in j.unknown)]
    judge_letters(history).enter(verdict)
    _enter_budgets(verdict, history.allow)
    verdict.findings = findings(Found(history, judged, places, attempts, verdict))
    verdict.validity = validity(bad=bool(verdict.invalid), unsure=bool(verdict.unknown))
    return verdict


def _without_broken_reads(history: History) -> History:
    """Reads that contradict themselves prove nothing: they are judged as not there, and named."""
    problems = {view.view: problem for view in history.views if (problem := broken_read(view))}
    return replace(
        history,
        views=[replace(view, read=None) if view.view in problems else view for view in history.views],
        notes=[*history.notes, *(("read_broken", f"{view}: {problem}") for view, problem in problems.items())],
    )


def _with_what_was_dropped(history: History) -> History:
    """What the lab heard on a broker that dropped messages is not all there was: unless it lacks more than were dropped,
    what is missing need not be lost. What is wrong in it stays wrong."""
    dropped = history.broker.dropped if history.broker is not None else 0
    heard = [view for view in history.views if view.heard and view.read is not None] if dropped else []
    if not heard:
        return history
    detail = f"{', '.join(view.view for view in heard)}: {dropped:,} messages were dropped"
    views = [
        replace(view, missed_some=_lacking(history, view) <= dropped) if view in heard else view
        for view in history.views
    ]
    return replace(history, views=views, notes=[*history.notes, ("heard_in_part", detail)])


def _lacking(history: History, view: ViewRecord) -> int:
    """How many events are missing in it that the terminals were told are applied."""
    sources = history.ledger.sources if history.ledger else {}
    reads = view.read or {}
    held = {name: IntervalSet(read.intervals) for name, read in reads.items()}
    return sum(entries.applied.difference(held.get(name, IntervalSet())).count for name, entries in sources.items())


def _machine(history: History) -> MachineAccount:
    account = MachineAccount(**asdict(history.machine)) if history.machine else MachineAccount()
    account.stalled_by_cause = Standstill(history.stalls, history.machine).by_cause()
    account.stalled_ms = total_ms(account.stalled_by_cause)
    return account


def _enter_budgets(verdict: Verdict, allow: Mapping[str, int]) -> None:
    verdict.budgets = account_budgets(verdict, allow)
    wrong, unsure = judge_budgets(verdict.budgets)
    verdict.invalid += wrong
    verdict.unknown += unsure


def _account_attempts(history: History, verdict: Verdict, attempts: Attempts, places: list[PlaceAccount]) -> None:
    verdict.resent_needlessly, verdict.resent_not_known = attempts.needless, attempts.not_known
    verdict.places = places + [
        PlaceAccount(what="healed", places=list(address), count=count, keys=attempts.keys[address])
        for address, count in sorted(attempts.healed.items(), key=lambda item: -item[1])
    ]
    for source in _sources(history):
        verdict.resent += len(source.attempts)
        verdict.repeats_planted += len(source.repeats)
        verdict.conflicts_planted += len(source.conflicts)
    for stage in history.stages:
        if stage.duplicates_absorbed:
            before = verdict.duplicates_absorbed.get(stage.stage, 0)
            verdict.duplicates_absorbed[stage.stage] = before + stage.duplicates_absorbed


def _account_rejections(history: History, verdict: Verdict) -> None:
    reasons: Counter[str] = Counter()
    for source in _sources(history):
        for sequence, (_, reason) in source.rejected.items():
            if (reason == "key_conflict" and sequence in source.conflicts) or sequence not in source.sequences:
                continue
            reasons[reason] += 1
            verdict.rejected_unexpectedly += rejected_unexpectedly(source, sequence, history.allowed_rejections)
    verdict.rejected_by_reason = dict(reasons.most_common())


def _bad_classes(verdict: Verdict) -> Iterator[Invalid]:
    for name in FATAL_CLASSES:
        if verdict.counts[name]:
            yield invalid(name, f"{verdict.counts[name]:,} of {verdict.sent:,}")
    if verdict.rejected_unexpectedly:
        yield invalid("rejected", f"{verdict.rejected_unexpectedly:,} of {verdict.sent:,}")


def _unanswered(judged: Judged) -> Iterator[Invalid]:
    if judged.unanswered.count:
        yield invalid("no_outcome", f"{judged.unanswered.count:,} of {judged.sent:,}")


def _unknowns(history: History, judged: Judged) -> Iterator[Unknown]:
    for code, detail in history.notes:
        yield unknown(code, detail)
    if history.ledger is None:
        if not any(code.startswith("ledger_") for code, _ in history.notes):
            yield unknown("ledger_missing")
    elif not judged.sent:
        yield unknown("nothing_sent")
    else:
        missing = (*ledger_gaps(judged.holes), *missing_evidence(history))
        yield from (unknown(code, detail) for code, detail in missing)
    for stage in history.stages:
        if not stage.alive_at_end and not stage.foreign:
            yield unknown("stage_dead", stage.stage)
        if stage.unnoted:
            yield unknown("witness_full", f"{stage.stage}: {stage.unnoted:,} things were not noted")
    if history.ledger and not any(view.holds == "events" for view in history.views):
        yield unknown("no_final_read", "no view of events is part of this run")
    yield from _never_read(history, judged)


def _never_read(history: History, judged: Judged) -> Iterator[Unknown]:
    """Why nobody need answer for them: their deadline was cut short, or the machine stood still meanwhile."""
    unanswered, sent = judged.unanswered, judged.sent
    if unanswered.excused:
        standstill = Standstill(history.stalls, history.machine)
        detail = f"{unanswered.excused:,} of {sent:,} events without an outcome"
        yield stalled(detail, "meanwhile", standstill.by_cause())
    behind = _behind_their_views(history, judged)
    missed = behind if any(view.missed_some for view in history.views) else 0  # of which "heard_in_part" tells
    never = judged.overall.counts["never_read"] - unanswered.count - unanswered.excused - missed
    cut_short = never if history.aborted else behind - missed if history.interrupted else 0
    if cut_short:
        yield unknown("aborted", f"{cut_short:,} of {sent:,} events")
    if never > cut_short and history.drains:
        yield unknown("unresolved", f"{never - cut_short:,} of {sent:,} events")


def _behind_their_views(history: History, judged: Judged) -> int:
    """How many events that were never read have an outcome: a view had not come to them."""
    sources = history.ledger.sources if history.ledger else {}
    return sum(
        members.count - without_outcome(sources[name], members).count
        for name, members in judged.overall.sets.get("never_read", {}).items()
    )


def _sources(history: History) -> list[SourceLedger]:
    return list(history.ledger.sources.values()) if history.ledger else []
