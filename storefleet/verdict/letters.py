"""Every dead letter explained, or held against the run: a pure function of what was heard and what the ledger planted.

| a letter | is |
|---|---|
| that bears no name of this fleet | a guest's: counted, never held against anybody |
| of an event that its terminal sent damaged, with the reason for that damage | explained |
| ``key_conflict`` whose content is one of the two that the terminal sent on purpose | explained |
| with a reason that the plan allows | explained |
| with a reason that a command or a fault leads to, after it was given (:data:`EXPLAINS`) | explained |
| of anything else | held against the run |

A name is the key's source, the source of the original topic, the store of a status, and, of a message or a document that
claims to be a canonical event, the source that it claims. Letters that a stage counted and nobody heard have no name: as
many as planted rows were not heard of can be theirs; of more nobody knows, and the verdict is unknown.

The other way round, a rejected event has a letter: bad input never vanishes. Where every letter was heard, an event of whose
rejection none tells speaks against the run, unless its terminal refused it itself.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from fleetwire import bounded_json
from fleetwire.dead_letters import printable
from fleetwire.errors import BadPayload
from fleetwire.identity import Key
from storefleet.verdict.field_differences import field_differences
from storefleet.verdict.history import History, Ledger, SourceLedger
from storefleet.verdict.letter_file import REST, Counts, Letter, Letters
from storefleet.verdict.result import (
    NAMED_LETTER_LIMIT,
    FieldDifference,
    Invalid,
    LetterAccount,
    Unknown,
    Verdict,
    invalid,
    unknown,
)

CONFLICT: Final = "key_conflict"
REFUSED_BY_TERMINAL: Final = ("terminal", "oversized")
"""The broker takes no packet of that size, so there was no message that could become a letter."""
UNTRUE: Final = "untrue"
MALFORMED_PLANTED: Final = "the terminal sent it damaged, as planted"
CONFLICT_PLANTED: Final = "the terminal sent two contents, as planted"
ALLOWED: Final = "the plan allows this reason"
EXPLAINS: Final[dict[str, frozenset[str]]] = {}
"""Command or type of fault -> the reasons of the dead letters that it leads to. None of those that exist leads to any."""
POSTING_STAGES: Final = ("parm", "sync_stage", "poseidon")
"""Stages that post what they count as rejected; the others have no broker, or post nothing."""
TERMINAL_EVENTS: Final = "/terminal/transaction/"
"""Within every topic on which a terminal's events come."""
BODY: Final = ("type", "time", "business_day_date", "data")
_NOBODY: Final = SourceLedger()


@dataclass(slots=True)
class LetterJudgement:
    """What the letters say, ready for the verdict."""

    dead_letters: Counts = field(default_factory=dict)
    at_least: bool = False
    letters: list[LetterAccount] = field(default_factory=list)
    guests: Counts = field(default_factory=dict)
    invalid: list[Invalid] = field(default_factory=list)
    unknown: list[Unknown] = field(default_factory=list)

    def enter(self, verdict: Verdict) -> None:
        """Put all of it into a verdict, whose reasons are there already."""
        verdict.dead_letters, verdict.dead_letters_at_least = self.dead_letters, self.at_least
        verdict.letters, verdict.guests = self.letters, self.guests
        verdict.invalid += self.invalid
        verdict.unknown += self.unknown


def judge_letters(history: History) -> LetterJudgement:
    """Judge all dead letters of a run."""
    judgement = LetterJudgement()
    heard = history.letters.counts() if history.letters is not None else {}
    counted = _counted(history)
    judgement.dead_letters = _greater(counted, heard)
    dropped = history.broker is not None and history.broker.dropped > 0
    known = history.letters is not None and history.letters.complete and not dropped
    judgement.at_least = bool(judgement.dead_letters) and not known
    if history.ledger is None:
        return judgement
    explainer = Explainer(history, history.ledger)
    letters = [*(history.letters.heard if history.letters is not None else ()), *_skipped(history)]
    _sort_out(judgement, explainer, letters)
    _enter_untrue(judgement, history, history.ledger)
    if history.letters is not None:
        judgement.unknown += _unheard(history.ledger, history.letters, counted, complete=known)
        if known:
            judgement.invalid += _rejected_without_letter(history.ledger, history.letters)
    return judgement


def replayable(history: History, limit: int) -> tuple[set[Key], set[Key]]:
    """Keys of letters that hold an event, as (planted conflicts, others): what was sent under them can be compared."""
    conflicts: set[Key] = set()
    others: set[Key] = set()
    sources = history.ledger.sources if history.ledger else {}
    for letter in history.letters.heard if history.letters else ():
        if letter.content and letter.sequence is not None and letter.source in sources:
            planted = letter.reason == CONFLICT and letter.sequence in sources[letter.source].conflicts
            if planted or len(others) < limit:
                (conflicts if planted else others).add(Key(letter.source, letter.sequence))
    return conflicts, others


class Explainer:
    """Says whose a letter is, and what explains it."""

    def __init__(self, history: History, ledger: Ledger) -> None:
        self._sources = ledger.sources
        self._history = history

    @cached_property
    def _stores(self) -> frozenset[str]:
        return frozenset(source.rpartition(".")[0] for source in self._sources)

    @cached_property
    def _since_ms(self) -> dict[str, int]:
        """Reason -> from when on something that was done leads to it."""
        result: dict[str, int] = {}
        for one in self._history.interventions:
            for reason in EXPLAINS.get(one.kind, ()):
                result[reason] = min(one.begin_ms, result.get(reason, one.begin_ms))
        return result

    def is_ours(self, letter: Letter) -> bool:
        """Whether the message bears a name of this fleet."""
        if letter.source in self._sources:
            return True
        levels = letter.topic.split("/")
        if levels[-1] in self._sources or ".".join(levels[-3:]) in self._stores:
            return True
        return letter.claims in self._sources

    def explanation(self, letter: Letter) -> str:
        """What explains a letter; empty: nothing does."""
        ledger = self._sources.get(letter.source, _NOBODY)
        number = letter.sequence
        if number is not None and ledger.malformed.get(number) == letter.reason:
            return MALFORMED_PLANTED
        if number in ledger.conflicts and letter.reason == CONFLICT and self._is_planted(letter, ledger, number):
            return CONFLICT_PLANTED
        if letter.reason in self._history.allowed_rejections:
            return ALLOWED
        if letter.at_ms >= self._since_ms.get(letter.reason, letter.at_ms + 1):
            return "a command or a fault that was given before leads to it"
        return ""

    def _is_planted(self, letter: Letter, ledger: SourceLedger, number: int) -> bool:
        """Whether its content is one of the two; where these cannot be made again, the planted row alone tells."""
        planted = self._history.planted_contents.get(Key(letter.source, number))
        if planted is None:
            return True
        return letter.content in (planted.hex(), ledger.hash_of(number).hex())

    def by_hand(self, letter: Letter) -> bool:
        """Whether it came as a terminal's event that no terminal has sent: those have their keys, by the ledger."""
        if TERMINAL_EVENTS not in letter.topic:
            return False
        return letter.sequence is None or letter.sequence not in self._sources.get(letter.source, _NOBODY).sequences

    def differences(self, letter: Letter) -> list[FieldDifference]:
        """What the message says beside what the terminal sent, where both are known."""
        if letter.sequence is None:
            return []
        expected = self._history.expected_bodies.get(Key(letter.source, letter.sequence))
        found = _body(letter)
        return field_differences(expected, found) if expected is not None and found is not None else []


def _sort_out(judgement: LetterJudgement, explainer: Explainer, letters: Iterable[Letter]) -> None:
    explained: Counter[tuple[str, str, str]] = Counter()
    against: Counter[tuple[str, str, str, str]] = Counter()
    first: dict[tuple[str, str, str, str], Letter] = {}
    last_ms: dict[tuple[str, str, str, str], int] = {}
    for letter in letters:
        if not explainer.is_ours(letter):
            _count(judgement.guests, letter.stage, letter.reason)
        elif explanation := explainer.explanation(letter):
            explained[letter.stage, letter.reason, explanation] += 1
        else:
            kind = (_name(letter), letter.stage, letter.reason, letter.content or letter.detail)
            against[kind] += 1
            first.setdefault(kind, letter)
            last_ms[kind] = letter.at_ms
    for kind, count in list(against.items())[:NAMED_LETTER_LIMIT]:
        letter = first[kind]
        account = _account(letter, count, explainer.differences(letter), last_ms[kind])
        judgement.letters.append(replace(account, by_hand=explainer.by_hand(letter)))
    judgement.letters += [
        LetterAccount(stage=stage, reason=reason, explained_by=explanation, count=count)
        for (stage, reason, explanation), count in sorted(explained.items())
    ]
    if against:
        judgement.invalid.append(invalid("dead_letters", _detail(against, judgement.letters[0])))


def _account(letter: Letter, count: int, fields: list[FieldDifference], last_ms: int) -> LetterAccount:
    return LetterAccount(
        key=_name(letter),
        stage=letter.stage,
        reason=letter.reason,
        count=count,
        detail=letter.detail,
        fields=fields,
        first_at_ms=letter.at_ms,
        last_at_ms=last_ms,
    )


def _detail(against: Counter[tuple[str, str, str, str]], one: LetterAccount) -> str:
    kinds = Counter[str]()
    for (_, stage, reason, _), count in against.items():
        kinds[f"{stage} {reason}"] += count
    figures = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common(5))
    return f"{figures}; the first: {one.key}" + (f": {one.detail}" if one.detail else "")


def _enter_untrue(judgement: LetterJudgement, history: History, ledger: Ledger) -> None:
    """Untrue messages that no stage reads, since the lab itself is behind PARM, and documents that no stage takes for
    an event; see ``ViewRead.others``."""
    for where, counts in (("canonical", history.untrue_messages), ("gateway", history.untrue_documents)):
        ours = {source: count for source, count in counts.items() if source in ledger.sources}
        guests = sum(count for source, count in counts.items() if source not in ours)
        if guests:
            _count(judgement.guests, where, UNTRUE, guests)
        if ours:
            detail = f"{sum(ours.values()):,} that bear no key ({where}), the first under the name of {min(ours)}"
            judgement.invalid.append(invalid("untrue_messages", detail))
    for view in history.views:
        for source, read in (view.read or {}).items():
            if read.others and source not in ledger.sources:
                _count(judgement.guests, view.view, UNTRUE, len(read.others))


def _unheard(ledger: Ledger, letters: Letters, counted: Counts, *, complete: bool) -> Iterator[Unknown]:
    """Letters without a line, as far as planted rows that were not heard of cannot be theirs.

    Where some may be missing, a stage may also have posted a heard one again, after its own death or the broker's: so it
    is where every heard one of that reason is planted.
    """
    heard, beyond = letters.heard, letters.beyond
    lines = Counter((letter.stage, letter.reason) for letter in heard)
    missing: Counter[str] = Counter()
    posted = {stage: reasons for stage, reasons in counted.items() if stage in POSTING_STAGES}
    for stage, reasons in _greater(posted, beyond).items():
        for reason in reasons:
            unheard = posted.get(stage, {}).get(reason, 0) - lines[stage, reason]
            missing[reason] += max(unheard, beyond.get(stage, {}).get(reason, 0), 0)
    if not +missing:
        return
    silent = _planted(ledger)
    for reason, keys in _keys_by_reason(heard).items():
        silent[reason] -= sum(_is_planted_row(ledger, key, reason) for key in keys)
    unnamed = missing - silent
    if not complete:
        for reason, keys in _keys_by_reason(heard).items():
            if all(_is_planted_row(ledger, key, reason) for key in keys):
                del unnamed[reason]
    if unnamed:
        yield unknown("letters_unheard", ", ".join(f"{count:,} {reason}" for reason, count in sorted(unnamed.items())))


def _rejected_without_letter(ledger: Ledger, letters: Letters) -> Iterator[Invalid]:
    """Events whose terminals were told of a rejection that no letter tells of; those beyond the lines may be theirs."""
    told = {(letter.source, letter.sequence, letter.reason) for letter in letters.heard}
    lacking = Counter[str]()
    first = ""
    for name, entries in ledger.sources.items():
        for number, (stage, reason) in entries.rejected.items():
            if (stage, reason) == REFUSED_BY_TERMINAL or (name, number, reason) in told:
                continue
            if number in entries.sequences:
                lacking[reason] += 1
                first = first or f"{name}.{number}: {stage} {reason}"
    without_line = Counter[str]()
    for reasons in letters.beyond.values():
        without_line.update(reasons)
    count = (lacking - without_line).total() - without_line[REST]
    if count > 0:
        yield invalid("rejected_without_letter", f"{count:,}, the first {first}")


def _planted(ledger: Ledger) -> Counter[str]:
    """Reason -> events for which a letter with it was planted."""
    result: Counter[str] = Counter()
    for source in ledger.sources.values():
        result.update(source.malformed.values())
        result[CONFLICT] += len(source.conflicts)
    return result


def _keys_by_reason(heard: list[Letter]) -> dict[str, set[Key]]:
    result: dict[str, set[Key]] = defaultdict(set)
    for letter in heard:
        if letter.sequence is not None:
            result[letter.reason].add(Key(letter.source, letter.sequence))
    return result


def _is_planted_row(ledger: Ledger, key: Key, reason: str) -> bool:
    entries = ledger.sources.get(key.source, _NOBODY)
    return entries.malformed.get(key.sequence) == reason or (reason == CONFLICT and key.sequence in entries.conflicts)


def _skipped(history: History) -> Iterator[Letter]:
    """What views could not use and no letter has told of, as letters."""
    told = (
        {(letter.source, letter.sequence, letter.reason) for letter in history.letters.heard} if history.letters else ()
    )
    for skip in history.skips:
        try:
            source, sequence = Key.parse(skip.id)
        except BadPayload:
            continue  # no event of anybody's
        if (source, sequence, skip.reason) not in told:
            yield Letter(
                at_ms=0,
                stage=skip.stage,
                reason=printable(skip.reason),
                source=source,
                sequence=sequence,
                detail=printable(skip.detail),
            )


def _counted(history: History) -> Counts:
    """What the stages themselves counted; the passages of one stage say the same."""
    result: Counts = {}
    for stage in history.stages:
        if stage.rejects:
            result.setdefault(stage.stage, {}).update(stage.rejects)
    return result


def _greater(one: Counts, other: Counts) -> Counts:
    result = {stage: dict(reasons) for stage, reasons in one.items()}
    for stage, reasons in other.items():
        known = result.setdefault(stage, {})
        for reason, count in reasons.items():
            known[reason] = max(count, known.get(reason, 0))
    return result


def _count(counts: Counts, stage: str, reason: str, count: int = 1) -> None:
    reasons = counts.setdefault(stage, {})
    reasons[reason] = reasons.get(reason, 0) + count


def _name(letter: Letter) -> str:
    """Its key, or what else names it best."""
    if letter.sequence is not None:
        return f"{letter.source}.{letter.sequence}"
    return letter.topic or letter.source


def _body(letter: Letter) -> dict[str, Any] | None:
    """What the message says, where it is a canonical event that was kept whole."""
    if not letter.content or len(letter.payload) < letter.size_bytes:
        return None
    try:
        event = bounded_json.decode(letter.payload, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return {name: event[name] for name in BODY if name in event}
