"""Anomalies of single events: how each is planted, and what must be reported for it."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace

from fleetwire.content import HASH_BYTES
from fleetwire.intervals import IntervalSet
from fleetwire.packed_times import packed_times
from fleetwire.witness import ViewRead
from storefleet.selftest import cuts
from storefleet.selftest.cuts import HANDED_ON, TAKEN, Mark
from storefleet.selftest.findings import Findings, of_class, place_line, reason_line
from storefleet.selftest.ground import Event, Ground, Impossible, held_hashes, one
from storefleet.verdict.blame import Address
from storefleet.verdict.history import Reading, StageRecord, ViewRecord
from storefleet.verdict.machine import Stall
from storefleet.verdict.result import EXAMPLE_LIMIT

GHOST = "nobody.nowhere.s9999.r99"


def wrong(name: str, event: Event, views: list[ViewRecord], places: Address) -> Findings:
    """An event of a class that makes the verdict invalid, shown by these views."""
    found = of_class(name, [event.key], views[0].view, places)
    found[reason_line("invalid", name)] = 1
    found.update(f"view {view.view} is invalid" for view in views)
    return found


def lost_on_the_way(ground: Ground) -> Findings:
    """Nobody behind some place has seen it, and the terminal was told that it is applied."""
    event = ground.event()
    cut = cuts.draw_cut(ground, event)
    cuts.lose(ground, cut, event)
    return wrong("lost", event, cuts.cut_views(ground, cut), cuts.place_of_loss(ground, cut, event)[1])


def deleted_from_a_store(ground: Ground) -> Findings:
    """A store that others read from has lost it after they had it."""
    stores = [view for view in ground.event_views if not view.hop and ground.behind(view.step)]
    view = ground.choose(stores, "store that others read from")
    event = ground.event()
    ground.forget(view, event)
    return wrong("lost", event, [view], (ground.stage(view.step).stage,))


def store_forgotten(ground: Ground) -> Findings:
    """One view holds nothing of one store any more."""
    view, store = ground.event_view(), ground.plain_store()
    assert view.read is not None
    sources = sorted(name for name in ground.ledger.sources if name.startswith(f"{store}."))
    events = [Event(name, number) for name in sources for number in ground.ledger.sources[name].sequences.numbers()]
    for source in sources:
        ground.put(view.read, source, ViewRead(intervals=[], hashes=b""))
    if view.totals_found is not None:
        others = {key: total for key, total in view.totals_found.items() if key[0] != store}
        ground.set(view, "totals_found", others)
    way = cuts.marks(ground, view, events[0])
    others_had_it = not view.hop and ground.behind(view.step)
    places = (ground.stage(view.step).stage,) if others_had_it else cuts.span(way, len(way) - 1)
    found = of_class("lost", [event.key for event in events[:EXAMPLE_LIMIT]], view.view, places)
    found["class lost"] = found[place_line("lost", places)] = len(events)
    found[reason_line("invalid", "lost")] = found[f"view {view.view} is invalid"] = 1
    return found


def without_outcome(ground: Ground, event: Event) -> None:
    """The terminal was never told what became of it."""
    applied = ground.ledger.sources[event.source].applied
    ground.amend_source(event.source, applied=applied.difference(one(event.sequence)))


def never_read(ground: Ground) -> Findings:
    """Lost on the way, and the terminal knows that it has no outcome; its deadline had not passed when it was looked for."""
    event = ground.event()
    deadline_ms = round(ground.event_views[0].deadline_s * 1000)
    ground.set(ground.history, "told_until_ms", ground.committed_ms(event) + deadline_ms)
    cut = cuts.draw_cut(ground, event)
    cuts.lose(ground, cut, event)
    without_outcome(ground, event)
    ground.set(ground.history, "drains", True)
    views = cuts.cut_views(ground, cut)
    found = of_class("never_read", [event.key], views[0].view, cuts.place_of_loss(ground, cut, event)[1])
    found[reason_line("unknown", "aborted" if ground.history.aborted else "unresolved")] = 1
    found.update(f"view {view.view} is unknown" for view in views)
    return found


def swallowed(ground: Ground) -> Findings:
    """The same, and it had its whole deadline in a healed lab."""
    found = never_read(ground)
    (key,) = {line.split()[1] for line in found if line.startswith("never_read: ")}
    source, _, sequence = key.rpartition(".")
    if source in ground.ledger.registers:  # it was open, whatever the end of the run has done since
        ground.put(ground.ledger.registers, source, replace(ground.ledger.registers[source], reason="birth"))
    ground.set(
        ground.history, "told_until_ms", _overdue_ms(ground, ground.event_views[0], Event(source, int(sequence)))
    )
    del found[reason_line("unknown", "aborted" if ground.history.aborted else "unresolved")]
    views = [line for line in found if line.startswith("view ")]
    for line in views:
        found[line.replace("unknown", "invalid")] = found.pop(line)
    found[reason_line("invalid", "no_outcome")] = 1
    return found


def came_after_the_reads(ground: Ground) -> Findings:
    """No view held it when it was read, long after its deadline; then it came, and the terminal was told."""
    event = ground.event()
    way = cuts.marks(ground, ground.event_views[0], event)
    cuts.lose(ground, next(mark for mark in way if mark.kind == HANDED_ON), event)
    without_outcome(ground, event)
    ground.amend_source(event.source, applied_later=one(event.sequence))
    for view in ground.event_views:
        ground.set(view, "asked_at_ms", _overdue_ms(ground, view, event))
    view = ground.event_views[0]
    places = tuple(place for stage in ground.path(view.step) for place in (stage.hop_before, stage.stage) if place)
    found = of_class("stale", [event.key], view.view, places)
    for view in ground.event_views:
        found[reason_line("invalid", "stale", view.view)] = found[f"view {view.view} is invalid"] = 1
    return found


def recovered(ground: Ground) -> Findings:
    """It arrived everywhere, though the terminal was never told."""
    event = ground.event()
    without_outcome(ground, event)
    return of_class("recovered", [event.key], ground.event_views[0].view, None)


def duplicated(ground: Ground) -> Findings:
    """A view holds its effect more than once."""
    event, view = ground.event(), ground.event_view()
    assert view.read is not None
    changed = copy.copy(view.read[event.source])
    changed.repeated = sorted([*changed.repeated, (event.sequence, ground.random.randint(2, 5))])
    ground.put(view.read, event.source, changed)
    return wrong("duplicated", event, [view], (view.view if view.hop else ground.stage(view.step).stage,))


def invented_on_the_way(ground: Ground) -> Findings:
    """From some place on, everybody has seen an event that no terminal sent."""
    event = ground.event()
    cut = cuts.draw_cut(ground, event)
    sequence = ground.ledger.sources[event.source].sequences.last + ground.random.randint(1, 9)
    invented = Event(event.source, sequence)
    _bring_in(ground, cut, invented)
    views = cuts.cut_views(ground, cut)
    way = cuts.marks(ground, views[0], event)
    found = wrong("unexpected", invented, views, cuts.entry_span(way, cuts.index_of(way, cut)))
    found["events that nobody sent"] = 1
    return found


def _bring_in(ground: Ground, cut: Mark, event: Event) -> None:
    number, stage = one(event.sequence), ground.stage(cut.step)
    if cut.kind == TAKEN and stage.taken:
        ground.within(stage.taken, event.source, number)
    if stage.handed_on and cut.kind in (TAKEN, HANDED_ON):
        ground.within(stage.handed_on, event.source, number)
    for later in ground.behind(cut.step):
        for sets in (later.taken, later.handed_on):
            if sets:
                ground.within(sets, event.source, number)
    for view in cuts.cut_views(ground, cut):
        _hold(ground, view, event)


def _hold(ground: Ground, view: ViewRecord, event: Event) -> None:
    hashes = held_hashes(view, event.source)
    by_value = any(hashes.values()) or not hashes
    hashes[event.sequence] = ground.random.randbytes(HASH_BYTES) if by_value else b""
    ground.put_read(view, event.source, hashes)


def invented_source(ground: Ground) -> Findings:
    """A view holds an event of a terminal that there is not."""
    view, event = ground.event_view(), Event(GHOST, ground.random.randint(1, 99))
    _hold(ground, view, event)
    way = cuts.marks(ground, view, ground.event())
    found = wrong("unexpected", event, [view], cuts.entry_span(way, len(way) - 1))
    found["events that nobody sent"] = 1
    return found


def rejected_but_there(ground: Ground) -> Findings:
    """The terminal was told that it is rejected, and every view holds it."""
    event, stage = ground.event(), ground.choose(_rejecting(ground), "stage that may reject")
    _reject(ground, event, stage, "key_conflict")
    found = wrong("unexpected", event, ground.event_views, _came_from(ground, event))
    found["rejected as key_conflict"] = found["rejected unexpectedly"] = 1
    found[reason_line("invalid", "rejected")] = 1
    return found + _no_letter(ground)


def malformed_but_applied(ground: Ground) -> Findings:
    """It should have been rejected, and was applied."""
    event = ground.event()
    malformed = ground.ledger.sources[event.source].malformed
    ground.amend_source(event.source, malformed={**malformed, event.sequence: "totals"})
    return wrong("unexpected", event, ground.event_views, _came_from(ground, event))


def _came_from(ground: Ground, event: Event) -> Address:
    """A terminal's own event came in at the terminals: no place behind them is to blame for it."""
    way = cuts.marks(ground, ground.event_views[0], event)
    first = ground.path(ground.event_views[0].step)[0]
    return () if event.sequence in first.taken.get(event.source, IntervalSet()) else cuts.entry_span(way, 1)


def _rejecting(ground: Ground) -> list[StageRecord]:
    view = ground.event_views[0]
    return [stage for stage in ground.path(view.step)[1:] if stage.stage not in ("broker", "gateway")]


def _reject(ground: Ground, event: Event, stage: StageRecord, reason: str, malformed: str = "") -> None:
    entries = ground.ledger.sources[event.source]
    number = event.sequence
    ground.amend_source(
        event.source,
        applied=entries.applied.difference(one(number)),
        rejected={**entries.rejected, number: (stage.stage, reason)},
        malformed={**entries.malformed, number: malformed} if malformed else entries.malformed,
    )


def _no_letter(ground: Ground) -> Findings:
    """What must be reported when the stage that rejects it posts no letter."""
    letters, broker = ground.history.letters, ground.history.broker
    all_heard = letters is not None and letters.complete and not letters.beyond and not (broker and broker.dropped)
    return Counter([reason_line("invalid", "rejected_without_letter")]) if all_heard else Counter()


def rejected_without_letter(ground: Ground) -> Findings:
    """A stage has rejected what its terminal damaged on purpose, for the right reason, and no letter tells of it."""
    if not _no_letter(ground):
        raise Impossible("the dead letters of this run were not all heard")
    return _lost_and_rejected(ground, "schema", "schema")


def rejected_well_formed(ground: Ground) -> Findings:
    """A stage has rejected what was well-formed."""
    return _rejected(ground, "schema", "")


def rejected_for_another_reason(ground: Ground) -> Findings:
    """A stage has rejected what was malformed, but under another reason than it deserves."""
    return _rejected(ground, "totals", "malformed_json")


def _rejected(ground: Ground, reason: str, malformed: str) -> Findings:
    ground.set(ground.history, "allowed_rejections", frozenset())
    found = _lost_and_rejected(ground, reason, malformed)
    found["rejected unexpectedly"] = found[reason_line("invalid", "rejected")] = 1
    return found


def _lost_and_rejected(ground: Ground, reason: str, malformed: str) -> Findings:
    event, stage = ground.event(), ground.choose(_rejecting(ground), "stage that may reject")
    cuts.lose(ground, Mark(stage.step, HANDED_ON, (), says_yes=True, says_no=True), event)
    _reject(ground, event, stage, reason, malformed)
    found = of_class("rejected", [event.key], ground.event_views[0].view, None)
    found[f"rejected as {reason}"] = 1
    return found + _no_letter(ground)


def altered_in_one_view(ground: Ground) -> Findings:
    """One view holds it with another content."""
    view, event = ground.choose(_by_value(ground), "view by value"), ground.event()
    return _altered(ground, event, [view])


def wrong_in_one_view(ground: Ground, event: Event, view: ViewRecord) -> Findings:
    """What must be reported when only this view shows the event corrupted."""
    return wrong("corrupted", event, [view], _span_of_value(ground, [view]))


def altered_on_the_way(ground: Ground) -> Findings:
    """Every view holds it with another content."""
    views = _by_value(ground)
    ground.choose(views, "view by value")
    return _altered(ground, ground.event(), views)


def _by_value(ground: Ground) -> list[ViewRecord]:
    return [view for view in ground.event_views if any(read.hashes for read in (view.read or {}).values())]


def shown_otherwise(ground: Ground) -> Findings:
    """A view holds it as it is, and shows something else."""
    views = [view for view in ground.event_views if any(read.effects for read in (view.read or {}).values())]
    view, event = ground.choose(views, "view that shows what events do"), ground.event()
    ground.show_otherwise(view, event, "effects", ground.random.randbytes(HASH_BYTES))
    return wrong_in_one_view(ground, event, view)


def _altered(ground: Ground, event: Event, views: list[ViewRecord]) -> Findings:
    for view in views:
        hashes = held_hashes(view, event.source)
        hashes[event.sequence] = bytes(byte ^ 0xFF for byte in hashes[event.sequence])
        ground.put_read(view, event.source, hashes)
    return wrong("corrupted", event, views, _span_of_value(ground, views))


def _span_of_value(ground: Ground, altered: list[ViewRecord]) -> Address:
    """From the last step at or behind which any view has it right, to the first view that has it wrong."""
    view = altered[0]
    right = {other.step for other in _by_value(ground) if other not in altered}
    places: Address = ()
    for stage in ground.path(view.step):
        places += (stage.hop_before, stage.stage) if stage.hop_before else (stage.stage,)
        own = stage.step == view.step and not view.hop
        if not own and right & {stage.step, *(later.step for later in ground.behind(stage.step))}:
            places = ()
    return (*places, view.hop, view.view) if view.hop else places


def late_on_the_way(ground: Ground) -> Findings:
    """The view says that it applied it long after its time, and reports of that time how far it had come."""
    views = [view for view in ground.event_views if not view.hop and ground.stage(view.step).witnessed]
    view, event = ground.choose(views, "view with a witness"), ground.event()
    at_ms = _apply_late(ground, view, event)
    way = [Mark("", "committed", (), says_yes=True, says_no=True), *_way(ground, view)]
    cut = ground.random.randrange(len(way) - 1)
    _report_at(ground, view, event, at_ms, cut)
    return _late(view, event, cuts.span(way, cut + 1))


def held_up(ground: Ground) -> Findings:
    """It came late, and a stage on its way says that it stood still when its deadline passed."""
    views = [view for view in ground.event_views if not view.hop and ground.stage(view.step).witnessed]
    view, event = ground.choose(views, "view with a witness"), ground.event()
    at_ms = _apply_late(ground, view, event)
    culprit = ground.choose([stage.stage for stage in ground.path(view.step)[1:] if stage.witnessed], "stage of ours")
    ground.set(ground.history, "stalls", [*ground.history.stalls, Stall(f"{culprit}-1", at_ms - 1_000, 2_000.0)])
    way = _way(ground, view)
    taken = next(
        place
        for place, mark in enumerate(way)
        if mark.kind == TAKEN and ground.stage(mark.step).stage == culprit  # it is the next to take it
    )
    _report_at(ground, view, event, at_ms, taken)
    return _late(view, event, (culprit,))


def rebuilt(ground: Ground) -> Findings:
    """A view was rebuilt, and took in again what it had lost: that is not late."""
    views = [view for view in ground.event_views if any(read.applied_at_ms for read in (view.read or {}).values())]
    view, event = ground.choose(views, "view that says when it applied what it holds"), ground.event()
    at_ms = _apply_late(ground, view, event)
    ground.set(view, "begun_at_ms", at_ms)
    assert view.read is not None
    for source, read in list(view.read.items()):
        changed = copy.copy(read)
        count = len(read.applied_at_ms) // HASH_BYTES
        changed.applied_at_ms = packed_times([at_ms + ground.random.randint(1, 500)] * count)
        ground.put(view.read, source, changed)
    return Counter()


def _apply_late(ground: Ground, view: ViewRecord, event: Event) -> int:
    """Let the view say so, as far as it says anything; returns when the deadline passed."""
    due_ms = max(ground.committed_ms(event), view.punctual_from_ms or 0, view.begun_at_ms) + round(
        view.deadline_s * 1000
    )
    stalled_ms = sum(stall.duration_ms for stall in ground.history.stalls)
    assert view.read is not None
    if view.read[event.source].applied_at_ms:
        came_ms = due_ms + 2 * round(stalled_ms) + ground.random.randint(1, 60_000)
        ground.show_otherwise(view, event, "applied_at_ms", packed_times([came_ms]))
        return due_ms
    return _overdue_ms(ground, view, event)


def _way(ground: Ground, view: ViewRecord) -> list[Mark]:
    path = ground.path(view.step)
    return [mark for stage in path for mark in _reports(stage, path, view)]


def _report_at(ground: Ground, view: ViewRecord, event: Event, at_ms: int, cut: int) -> None:
    """Reports of that moment say that it had come as far as the cut."""
    way = _way(ground, view)
    entries = ground.ledger.sources[event.source]
    whole, lacking = entries.sequences.to_list(), entries.sequences.difference(one(event.sequence)).to_list()
    for stage in ground.path(view.step):
        if stage.witnessed:
            seen = {kind: whole if _before(way, stage, kind, cut) else lacking for kind in (TAKEN, HANDED_ON)}
            reading = Reading(at_ms, {event.source: seen[TAKEN]}, {event.source: seen[HANDED_ON]})
            ground.set(stage, "timeline", [reading])
            if stage.step == view.step:
                ground.set(view, "timeline", [reading])


def _late(view: ViewRecord, event: Event, places: Address) -> Findings:
    found = of_class("stale", [event.key], view.view, places)
    found[reason_line("invalid", "stale", view.view)] = found[f"view {view.view} is invalid"] = 1
    return found


def _reports(stage: StageRecord, path: list[StageRecord], view: ViewRecord) -> list[Mark]:
    """What the reports of a stage can show; what one without a witness has taken, the word of the one before shows."""
    seen = stage.witnessed
    result = []
    if stage.hop_before:
        before = path[path.index(stage) - 1]
        result.append(Mark(stage.step, TAKEN, (stage.hop_before,), seen, seen, by_word=not seen and before.witnessed))
    if stage.step != view.step:
        result.append(Mark(stage.step, HANDED_ON, (stage.stage,), seen, seen))
    return result


def _before(way: list[Mark], stage: StageRecord, kind: str, cut: int) -> bool:
    return any((mark.step, mark.kind) == (stage.step, kind) for mark in way[:cut])


def _overdue_ms(ground: Ground, view: ViewRecord, event: Event) -> int:
    """So late that no standstill of this run excuses it."""
    stalled_ms = sum(stall.duration_ms for stall in ground.history.stalls)
    begin_ms = max(ground.committed_ms(event), view.punctual_from_ms or 0, view.undecided_until_ms)
    return int(begin_ms + view.deadline_s * 1000 + 2 * stalled_ms) + ground.random.randint(1_000, 60_000)


def healed(ground: Ground) -> Findings:
    """A sending was lost on the way, and the next one arrived: all is well, and the account names the place."""
    event = ground.event()
    path = max(
        (ground.path(view.step) for view in ground.event_views), key=lambda path: sum(one.witnessed for one in path)
    )
    stages = [stage for stage in path[1:] if stage.witnessed]
    first = ground.choose(stages, "stage with a witness")
    for stage in [first, *(later for later in ground.behind(first.step) if later.witnessed)]:
        ground.within(stage.first_taken_on_retry, event.source, one(event.sequence))
    attempts = ground.ledger.sources[event.source].attempts
    ground.amend_source(event.source, attempts={**attempts, event.sequence: 2})
    places: Address = ()
    for stage in path[1 : path.index(first) + 1]:
        places += (stage.hop_before, stage.stage)
        if stage is not first and stage.witnessed:
            places = (stage.stage,)
    return Counter(["sent again", place_line("healed", places[:-1])])


def healed_or_not(ground: Ground) -> Findings:
    """It was sent again, and the stage that may have had it before is dead: nobody can say whether that was needed."""
    event = ground.event()
    path = max(
        (ground.path(view.step) for view in ground.event_views), key=lambda path: sum(one.witnessed for one in path)
    )
    stage = ground.choose([stage for stage in path[1:] if stage.witnessed], "stage with a witness")
    ground.within(stage.retry_undecided, event.source, one(event.sequence))
    attempts = ground.ledger.sources[event.source].attempts
    ground.amend_source(event.source, attempts={**attempts, event.sequence: 2})
    return Counter(["sent again", "sent again, and nobody knows why"])
