"""What is wrong with a run as a person asks for it: what, how many, where, since when, and which command shows more.

One finding for each class of events, each view and each kind of letter that speaks against a run, the gravest first; of a
run that nothing speaks against, what healed by itself. Nothing is judged here: a finding puts together what the checker
found, with the faults and the processes that may have been the reason.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from fleetwire.intervals import IntervalSet
from storefleet.verdict.addresses import Places
from storefleet.verdict.blame import Address, Attempts
from storefleet.verdict.classify import Judged, rejected_unexpectedly
from storefleet.verdict.ends import Ends, ends
from storefleet.verdict.examples import example, way_to, way_to_step
from storefleet.verdict.history import History, Sets, SourceLedger, StageRecord, ViewRecord
from storefleet.verdict.result import (
    INVALID_REASONS,
    KEY_LIMIT,
    Example,
    Finding,
    FindingPlace,
    LetterAccount,
    PlaceAccount,
    Suspect,
    Verdict,
    ViewAccount,
)

MEANWHILE_LIMIT: Final = 3
BY_HAND: Final = "its terminal has sent no such event: it was sent by hand, or by a client of yours"
PLACE_LIMIT: Final = 8
"""So many places of one finding are told apart."""


class Found(NamedTuple):
    """All that findings are made of; ``verdict`` has its counts, views and letters by now."""

    history: History
    judged: Judged
    places: Places
    attempts: Attempts
    verdict: Verdict


class _OfEvents(NamedTuple):
    """A finding about events: the class whose events it counts, and its words."""

    name: str
    words: str


EVENTS: Final[dict[str, _OfEvents]] = {
    "lost": _OfEvents("lost", "missing, although acknowledged as applied"),
    "corrupted": _OfEvents("corrupted", "altered on the way"),
    "duplicated": _OfEvents("duplicated", "shown more than once"),
    "unexpected": _OfEvents("unexpected", "present, although never sent, or although rejected"),
    "stale": _OfEvents("stale", "later than the deadline allows"),
    "rejected": _OfEvents("rejected", "rejected, although well-formed, or under another reason than expected"),
    "no_outcome": _OfEvents("never_read", "without an outcome, although they had their whole deadline"),
    "never_read": _OfEvents("never_read", "without an outcome, or not in every view yet"),
}
"""Code -> what its events are. ``never_read`` is what nobody need answer for."""


def findings(found: Found) -> list[Finding]:
    """All of them, the gravest first, in the order of INVALID_REASONS; of a valid run, what healed."""
    codes = {wrong.code for wrong in found.verdict.invalid}
    result: list[Finding] = []
    for code in INVALID_REASONS:
        if code in codes:
            result += _MAKERS.get(code, _plain)(found, code)
    if found.verdict.unknown and "no_outcome" not in codes and _members(found, "never_read"):
        result += _of_events(found, "never_read")
    return result or list(_told(found))


# -- events ----------------------------------------------------------------------------------------------------------


def _of_events(found: Found, code: str) -> Iterator[Finding]:
    row = EVENTS[code]
    members = _members(found, code)
    count = sum(numbers.count for numbers in members.values())
    from_ms, until_ms = _sent(found.history, members)
    shares = _shares(found, code, members)
    keys = [
        example(found.history, found.judged, found.places, name=row.name, source=source, sequence=sequence)
        for source, sequence in _in_turn(shares)
    ]
    deadline_ms = max((round(view.deadline_s * 1000) for view in found.history.views), default=0)
    time = (from_ms, until_ms + deadline_ms) if until_ms else (0, 0)
    yield Finding(
        code=code,
        what=f"{_of(count, found.verdict.sent, code)} {row.words}",
        count=count,
        from_ms=from_ms,
        until_ms=until_ms,
        since="sent" if from_ms else "",
        places=[
            _place(found.history, share.address, share.events, time, share.detail) for share in shares[:PLACE_LIMIT]
        ],
        meanwhile=_meanwhile(found.history, time),
        keys=keys,
        next_command=_trace(found.history, keys),
    )


def _of(count: int, sent: int, code: str) -> str:
    if code == "unexpected":
        return f"{count:,} event{'s' * (count != 1)}"
    return f"{count:,} of {sent:,} event{'s' * (sent != 1)}"


def _members(found: Found, code: str) -> Sets:
    """The events that a finding counts."""
    sets = found.judged.overall.sets.get(EVENTS[code].name, {})
    if code == "no_outcome":
        return found.judged.unanswered.overdue
    if code != "rejected":
        return sets
    sources = found.history.ledger.sources if found.history.ledger else {}
    allowed = found.history.allowed_rejections
    unexpected = {
        source: IntervalSet(
            (number, number) for number in members.numbers() if rejected_unexpectedly(sources[source], number, allowed)
        )
        for source, members in sets.items()
    }
    return {source: numbers for source, numbers in unexpected.items() if numbers}


def _sent(history: History, members: Sets) -> tuple[int, int]:
    """When the first and the last of them were committed; (0, 0) where no terminal sent any."""
    sources = history.ledger.sources if history.ledger else {}
    times: list[int] = []
    for source, numbers in members.items():
        entries = sources.get(source) or SourceLedger()
        sent = numbers.intersection(entries.sequences).to_list()
        if sent:
            times += (entries.times_ms[entries.position(one)] for one in (sent[0][0], sent[-1][1]))
    return (min(times), max(times)) if times else (0, 0)


class _Share(NamedTuple):
    """The events of a finding at one address; ``detail`` says more of it."""

    address: Address
    members: Sets
    detail: str = ""

    @property
    def events(self) -> int:
        return sum(numbers.count for numbers in self.members.values())


def _shares(found: Found, code: str, members: Sets) -> list[_Share]:
    """The events by address, the most first; those that were rejected by who did it, and why."""
    if code == "rejected":
        return _by_rejecter(found, members)
    shares = []
    for address, sources in found.places.by_class.get(EVENTS[code].name, {}).items():
        here = {
            source: numbers.intersection(members[source]) for source, numbers in sources.items() if source in members
        }
        here = {source: numbers for source, numbers in here.items() if numbers}
        if here:
            shares.append(_Share(address, here))
    return sorted(shares, key=lambda share: -share.events) or [_Share((), members)]


def _by_rejecter(found: Found, members: Sets) -> list[_Share]:
    shares: dict[tuple[str, str], Sets] = {}
    sources = found.history.ledger.sources if found.history.ledger else {}
    for source, numbers in members.items():
        for number in numbers.numbers():
            here = shares.setdefault(sources[source].rejected[number], {})
            here.setdefault(source, IntervalSet()).add(number)
    result = [_Share((stage,), here, f"reason {reason}") for (stage, reason), here in shares.items()]
    return sorted(result, key=lambda share: -share.events)


def _in_turn(shares: Sequence[_Share]) -> list[tuple[str, int]]:
    """The first KEY_LIMIT events; the places take turns, so that the many of one do not hide the few of another."""
    turns = [_numbers(share.members) for share in shares]
    keys: list[tuple[str, int]] = []
    while turns and len(keys) < KEY_LIMIT:
        for turn in list(turns):
            key = next(turn, None)
            if key is None:
                turns.remove(turn)
            elif len(keys) < KEY_LIMIT:
                keys.append(key)
    return keys


def _numbers(members: Sets) -> Iterator[tuple[str, int]]:
    return ((source, number) for source, numbers in sorted(members.items()) for number in numbers.numbers())


# -- places ----------------------------------------------------------------------------------------------------------

Time = tuple[int, int]
"""From when until when something may have been the reason; (0, 0): that is not known."""


def _place(history: History, address: Sequence[str], count: int, time: Time, detail: str = "") -> FindingPlace:
    here = _ends(history, address)
    return FindingPlace(
        count=count,
        places=list(address),
        last_seen=here.last,
        first_missing=here.first,
        suspects=_suspects(history, address, time),
        detail=detail,
    )


def _ends(history: History, address: Sequence[str]) -> Ends:
    """By the first view on whose way the address lies."""
    for view in history.views:
        here = ends(way_to(history, view), view, address)
        if here.last:
            return here
    return Ends()


def _suspects(history: History, address: Sequence[str], time: Time) -> list[Suspect]:
    """The only place there is; of several, those on which a fault, the fate of a process, or whose they are points."""
    foreign = {stage.stage for stage in history.stages if stage.foreign}
    named: dict[str, Suspect] = {}
    for place in dict.fromkeys(address):
        whys = [
            one.words for one in history.incidents if one.place == place and _overlaps(one.from_ms, one.until_ms, time)
        ]
        if whys or place in foreign or len(address) == 1:
            named[place] = Suspect(name=place, yours=place in foreign, why=whys[0] if whys else "")
    return list(named.values())


def _overlaps(from_ms: int, until_ms: int, time: Time) -> bool:
    return bool(time[1]) and from_ms <= time[1] and until_ms >= time[0]


def _meanwhile(history: History, time: Time) -> list[str]:
    """Every incident of that time in words, the first MEANWHILE_LIMIT."""
    words = [one.words for one in history.incidents if _overlaps(one.from_ms, one.until_ms, time)]
    rest = len(words) - MEANWHILE_LIMIT
    return words if rest <= 0 else [*words[:MEANWHILE_LIMIT], f"{rest:,} more"]


# -- commands --------------------------------------------------------------------------------------------------------


def _trace(history: History, keys: Sequence[Example]) -> str:
    return f"storefleet trace {keys[0].name} --run {_folder(history)}" if keys else _log(history)


def _log(history: History) -> str:
    return f"storefleet log {_folder(history)}"


def _folder(history: History) -> str:
    return shlex.quote(history.run.folder or "RUN")


# -- views, letters, the rest ----------------------------------------------------------------------------------------


def _late(found: Found, code: str) -> Iterator[Finding]:
    for view in found.verdict.views:
        took_ms = view.healed_to_converged_ms
        if took_ms is None or took_ms - view.stalled_ms <= view.deadline_ms:
            continue
        healed_ms = _record(found, view).healed_at_ms or 0
        time = (healed_ms, healed_ms + took_ms)
        yield Finding(
            code=code,
            what=f"view {view.view} took {took_ms / 1000:.1f} s to agree; its deadline is {view.deadline_ms / 1000:.1f} s",
            count=1,
            view=view.view,
            from_ms=healed_ms,
            until_ms=healed_ms + took_ms,
            since="waited for",
            places=[_place_of_view(found, view, 1, time)],
            meanwhile=_meanwhile(found.history, time),
            next_command=_log(found.history),
        )


def _differences(found: Found, code: str) -> Iterator[Finding]:
    what = {"registers_differ": "register{} of {} not as the terminals are", "totals_differ": "total{} of {} off"}
    holds = {"registers_differ": "registers", "totals_differ": "events"}[code]
    of_kind = {view.view for view in found.history.views if view.holds == holds}
    blamed = {wrong.detail.partition(":")[0] for wrong in found.verdict.invalid if wrong.code == code}
    for view in found.verdict.views:
        if view.view in blamed & of_kind and view.difference_count:
            at_ms = _record(found, view).read_at_ms or 0
            yield Finding(
                code=code,
                what=f"{view.difference_count:,} {what[code].format('s' * (view.difference_count != 1), view.view)}",
                count=view.difference_count,
                view=view.view,
                from_ms=at_ms,
                until_ms=at_ms,
                since="read" if at_ms else "",
                places=[_place_of_view(found, view, view.difference_count, (at_ms, at_ms))],
                keys=view.differences[:KEY_LIMIT],
                next_command=_log(found.history),
            )


def _record(found: Found, view: ViewAccount) -> ViewRecord:
    return next(one for one in found.history.views if one.view == view.view)


def _place_of_view(found: Found, view: ViewAccount, count: int, time: Time) -> FindingPlace:
    """What shows it: its own stage, of which the way to it may be the reason."""
    record = _record(found, view)
    way = way_to(found.history, record)
    stages = [stage for stage in way if stage.step == record.step]
    address = (record.view,) if record.hop or not stages else (stages[0].stage,)
    whole = dict.fromkeys([*_way_places(way), *((record.hop,) if record.hop else ()), *address])
    pointed = [one for one in _suspects(found.history, list(whole), time) if one.why or one.yours]
    return FindingPlace(
        count=count, places=list(address), suspects=pointed or _suspects(found.history, address, time), detail=view.view
    )


def _way_places(way: Iterable[StageRecord]) -> list[str]:
    return [place for stage in way for place in (stage.hop_before, stage.stage) if place]


def _dead_letters(found: Found, code: str) -> Iterator[Finding]:
    against = [letter for letter in found.verdict.letters if not letter.explained_by]
    times = [time for letter in against for time in (letter.first_at_ms, letter.last_at_ms) if time]
    time = (min(times), max(times)) if times else (0, 0)
    counts: Counter[tuple[str, str]] = Counter()
    for letter in against:
        counts[letter.stage, letter.reason] += letter.count
    count = counts.total()
    keys = [_letter_key(letter) for letter in against[:KEY_LIMIT]]
    sources = found.history.ledger.sources if found.history.ledger else {}
    events = [key for key in keys if key.name.rpartition(".")[0] in sources]
    yield Finding(
        code=code,
        what=f"{count:,} dead letter{'s' * (count != 1)} under the terminals' names that nothing explains",
        count=count,
        from_ms=time[0],
        until_ms=time[1],
        since="heard" if times else "",
        places=[
            _place_of_letters(found, stage, reason, number, time)
            for (stage, reason), number in counts.most_common(PLACE_LIMIT)
        ],
        meanwhile=_meanwhile(found.history, time),
        keys=keys,
        next_command=_trace(found.history, events),
    )


def _letter_key(letter: LetterAccount) -> Example:
    said = f"{letter.reason}: {letter.detail}" if letter.detail else letter.reason
    by_hand = f"; {BY_HAND}" if letter.by_hand else ""
    return Example(name=letter.key, found=f"dead letter of {letter.stage}, {said}{by_hand}", fields=letter.fields)


def _place_of_letters(found: Found, stage: str, reason: str, count: int, time: Time) -> FindingPlace:
    """Whoever files a letter may only have found what was done before it."""
    step = next((one for one in found.history.stages if one.stage == stage), None)
    way = _way_places(way_to_step(found.history, step.step)) if step is not None else [stage]
    pointed = [one for one in _suspects(found.history, way, time) if one.why or one.yours]
    suspects = pointed or [Suspect(name=stage)]
    yours = " (yours)" if step is not None and step.foreign else ""
    return FindingPlace(count=count, places=[stage], suspects=suspects, detail=f"filed by {stage}{yours}: {reason}")


def _plain(found: Found, code: str) -> Iterator[Finding]:
    """What has figures in words alone."""
    for wrong in found.verdict.invalid:
        if wrong.code == code:
            yield Finding(code=code, what=f"{wrong.text}: {wrong.detail}", count=1, next_command=_log(found.history))


def _over_budget(found: Found, code: str) -> Iterator[Finding]:
    """One for each budget that is exceeded, with what is known of what it counts."""
    told = {finding.code: finding for finding in _told(found)}
    for one in found.verdict.budgets:
        if one.exceeded:
            what = f"{one.count:,} {one.words}, allowed {one.allowed:,}"
            details = [FindingPlace(count=0, detail=detail) for detail in one.details[:PLACE_LIMIT]]
            plain = Finding(code=code, what=what, count=one.count, places=details, next_command=_log(found.history))
            known = told.get(one.name)
            yield plain if known is None else replace(known, code=code, what=what, count=one.count)


_MAKERS: Final[dict[str, Callable[[Found, str], Iterator[Finding]]]] = {
    **dict.fromkeys((name for name in EVENTS if name in INVALID_REASONS), _of_events),
    "late": _late,
    "registers_differ": _differences,
    "totals_differ": _differences,
    "dead_letters": _dead_letters,
    "over_budget": _over_budget,
}


# -- a run that nothing speaks against -------------------------------------------------------------------------------


def _told(found: Found) -> Iterator[Finding]:
    """What healed by itself: nobody need answer for it, and whoever reads the verdict wants to know."""
    healed = [account for account in found.verdict.places if account.what == "healed"]
    if healed:
        yield _healed(found, healed)
    if found.verdict.restarts and any(found.verdict.restarts.values()):
        yield _restarts(found)
    yield from _repeats(found)


def _healed(found: Found, healed: Sequence[PlaceAccount]) -> Finding:
    count = sum(account.count for account in healed)
    time = found.attempts.healed_from_ms, found.attempts.healed_until_ms
    names = [name for account in healed for name in account.keys][:KEY_LIMIT]
    keys = [Example(name=name) for name in names]
    return Finding(
        code="healed",
        what=f"{count:,} event{'s' * (count != 1)} healed: lost on the way, and made good by a re-send",
        count=count,
        from_ms=time[0],
        until_ms=time[1],
        since="sent",
        places=[_place(found.history, one.places, one.count, time) for one in healed[:PLACE_LIMIT]],
        meanwhile=_meanwhile(found.history, time),
        keys=keys,
        next_command=_trace(found.history, keys),
    )


def _restarts(found: Found) -> Finding:
    restarts = found.verdict.restarts or {}
    count = sum(map(len, restarts.values()))
    places = [
        FindingPlace(count=len(exits), detail=f"{name}: {exits[-1]}")
        for name, exits in sorted(restarts.items())
        if exits
    ]
    times = [one.from_ms for one in found.history.incidents if one.kind == "end"]
    return Finding(
        code="restarts",
        what=f"{count:,} restart{'s' * (count != 1)}: a process ended that nobody had asked to",
        count=count,
        from_ms=min(times, default=0),
        until_ms=max(times, default=0),
        since="ended" if times else "",
        places=places[:PLACE_LIMIT],
        next_command=_log(found.history),
    )


def _repeats(found: Found) -> Iterator[Finding]:
    """What came twice, though no terminal sent it twice, and no connection broke so that a broker had to."""
    history, verdict = found.history, found.verdict
    broken = any((verdict.restarts or {}).values()) or history.faults
    first = next((stage for stage in history.stages if stage.duplicates_absorbed), None)
    surplus = first.duplicates_absorbed - verdict.resent - verdict.repeats_planted if first is not None else 0
    if first is None or broken or surplus <= 0:
        return
    address = _before(history, first)
    time = first.absorbed_since_ms, first.last_report_ms or 0
    yield Finding(
        code="repeats",
        what=f"{surplus:,} repeat{'s' * (surplus != 1)} absorbed at {first.stage}, of events that no terminal sent twice",
        count=surplus,
        from_ms=time[0],
        until_ms=time[1],
        since="absorbed" if time[0] else "",
        places=[FindingPlace(count=surplus, places=list(address), suspects=_suspects(history, address, time))],
        next_command=_log(history),
    )


def _before(history: History, stage: StageRecord) -> Address:
    """The places between a stage and the last one before it that would have noticed, too."""
    way = way_to_step(history, stage.step)
    noticing = [number for number, one in enumerate(way[:-1]) if one.witnessed and not one.foreign]
    begin = noticing[-1] if noticing else 0
    return (way[begin].stage, *_way_places(way[begin + 1 :])[:-1])
