"""What is known about a run, as one value: the only thing that the checker looks at.

A :class:`History` holds the ledger (what the terminals really did), the witnesses (what each stage has seen), the
final reads of the views, and how long the machine itself stood still. It comes from a run folder, from a live lab, or
is written by hand in a test. An event costs about 30 bytes: all hashes of a source are one byte string, all times one
array.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fleetwire.content import HASH_BYTES
from fleetwire.identity import Key
from fleetwire.intervals import Interval, IntervalSet
from fleetwire.witness import ViewRead
from storefleet.verdict.letter_file import Letters
from storefleet.verdict.machine import ClockStep, MachineRecord, Stall
from storefleet.verdict.result import BrokerAccount, FaultAccount, RunAccount
from storefleet.verdict.seal import TableMark

Sets = dict[str, IntervalSet]
FOREVER_MS = 2**62
Total = tuple[int, int]
"""How many, and how many cents."""


@dataclass(slots=True)
class SourceLedger:
    """Everything one terminal did. The arrays run along ``sequences``, ascending."""

    sequences: IntervalSet = field(default_factory=IntervalSet)
    hashes: bytearray = field(default_factory=bytearray)
    times_ms: array[int] = field(default_factory=lambda: array("q"))
    types: bytearray = field(default_factory=bytearray)
    """Index into :attr:`Ledger.types`."""
    days: array[int] = field(default_factory=lambda: array("H"))
    """Index into :attr:`Ledger.days`."""
    amounts_cents: array[int] = field(default_factory=lambda: array("q"))
    effects: bytearray = field(default_factory=bytearray)
    """Hashes of what a view must show of each event, 8 bytes each; empty: the ledger does not say."""
    lacking_effects: int = 0
    """Events of which it does not say, though it does of others."""
    malformed: dict[int, str] = field(default_factory=dict)
    """Sequence -> the reason under which it must be rejected."""
    uncounted: set[int] = field(default_factory=set)
    """Sales that are no transaction of the sales total: training (:func:`fleetwire.amounts.sales_contribution`)."""
    applied: IntervalSet = field(default_factory=IntervalSet)
    """Told so by the time of the final reads."""
    applied_later: IntervalSet = field(default_factory=IntervalSet)
    """Told so only afterwards: no read need hold it."""
    rejected: dict[int, tuple[str, str]] = field(default_factory=dict)
    """Sequence -> stage and reason, as the terminal was told."""
    attempts: dict[int, int] = field(default_factory=dict)
    """Sequence -> how often it was sent, where more than once."""
    resent_ms: dict[int, int] = field(default_factory=dict)
    """Sequence -> when it was sent for the second time, as far as the ledger says."""
    repeats: set[int] = field(default_factory=set)
    conflicts: set[int] = field(default_factory=set)

    def append(
        self,
        sequence: int,
        content: bytes,
        at_ms: int,
        *,
        type_code: int = 0,
        day_code: int = 0,
        amount_cents: int = 0,
        expected_reason: str = "",
    ) -> None:
        """Enter the next event; raises ValueError unless its number is greater than all before and its hash 8 bytes."""
        if sequence <= self.sequences.last or len(content) != HASH_BYTES:
            raise ValueError(f"event {sequence} after {self.sequences.last} with a hash of {len(content)} bytes")
        self.sequences.add(sequence)
        self.hashes += content
        self.times_ms.append(at_ms)
        self.types.append(type_code)
        self.days.append(day_code)
        self.amounts_cents.append(amount_cents)
        if expected_reason:
            self.malformed[sequence] = expected_reason

    @property
    def count(self) -> int:
        """How many events it committed."""
        return len(self.times_ms)

    def position(self, sequence: int) -> int:
        """Where an event of the ledger stands in the arrays; raises KeyError."""
        before = 0
        for first, last in self.sequences:
            if first <= sequence <= last:
                return before + sequence - first
            before += last - first + 1
        raise KeyError(sequence)

    def sequence_at(self, position: int) -> int:
        """The opposite of :meth:`position`; raises IndexError."""
        for first, last in self.sequences:
            if position <= last - first:
                return first + position
            position -= last - first + 1
        raise IndexError(position)

    def hash_of(self, sequence: int) -> bytes:
        """Content hash of one event; raises KeyError."""
        start = self.position(sequence) * HASH_BYTES
        return bytes(self.hashes[start : start + HASH_BYTES])

    def of_types(self, codes: frozenset[int]) -> IntervalSet:
        """The numbers of all events of these types."""
        return IntervalSet(
            (number, number) for number, code in zip(self.sequences.numbers(), self.types, strict=True) if code in codes
        )


@dataclass(slots=True, frozen=True)
class Register:
    """The true last state of a terminal."""

    online: bool
    reason: str
    boot: int
    bd_seq: int
    at_ms: int


@dataclass(slots=True)
class Ledger:
    """The ledgers of all sources, and the tables that their codes point into."""

    sources: dict[str, SourceLedger] = field(default_factory=dict)
    types: list[str] = field(default_factory=list)
    days: list[str] = field(default_factory=list)
    registers: dict[str, Register] = field(default_factory=dict)
    created_at_ms: str = ""
    """As its writer noted it; empty: it did not."""
    tables: dict[str, TableMark] = field(default_factory=dict)
    """What the file held; empty where the ledger comes from none."""

    def source(self, name: str) -> SourceLedger:
        """The ledger of a source, made when it is new."""
        found = self.sources.get(name)
        if found is None:
            found = self.sources[name] = SourceLedger()
        return found

    def type_code(self, name: str) -> int:
        """The code of an event type, made when it is new."""
        return code_of(self.types, name)

    def day_code(self, name: str) -> int:
        """The code of a business day, made when it is new."""
        return code_of(self.days, name)

    @property
    def count(self) -> int:
        """How many events all sources committed."""
        return sum(source.count for source in self.sources.values())


def code_of(names: list[str], name: str) -> int:
    """Index of a name in a short list, appended when it is new."""
    try:
        return names.index(name)
    except ValueError:
        names.append(name)
        return len(names) - 1


@dataclass(slots=True, frozen=True)
class Reading:
    """What a stage or view had seen at a moment, of the sources that are named; others are not said to be empty."""

    at_ms: int
    sources: dict[str, list[Interval]]
    handed_on: dict[str, list[Interval]] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class StageRecord:
    """One passage through a stage: the union over its instances and incarnations.

    ``undecided_until_ms``: an incarnation died without a last snapshot at that time, so that the witness may lack what
    was committed before; what was committed later it must have. FOREVER_MS: it may lack anything. ``unnoted``: what found
    no room in a witness of it.
    """

    step: str
    stage: str
    hop_before: str = ""
    after: str = ""
    witnessed: bool = True
    foreign: bool = False
    alive_at_end: bool = True
    taken: Sets = field(default_factory=dict)
    handed_on: Sets = field(default_factory=dict)
    first_taken_on_retry: Sets = field(default_factory=dict)
    retry_undecided: Sets = field(default_factory=dict)
    """Taken on a retry by an incarnation that cannot know whether an earlier one had taken it before."""
    timeline: list[Reading] = field(default_factory=list)
    undecided_until_ms: int = 0
    last_report_ms: int | None = None
    """When its latest report was made; None: there is none, or nobody says when."""
    duplicates_absorbed: int = 0
    absorbed_since_ms: int = 0
    """When it reported the first of them; 0: none, or nobody says when."""
    unnoted: int = 0
    rejects: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class ViewRecord:
    """One view: its final read (None = there was none), and when it agreed with the truth again.

    ``healed_at_ms`` None: the faults were not lifted. ``calm_since_ms``: since when nothing excuses an event for being
    late (the lab was up, the last fault lifted); None: since ``healed_at_ms``. ``calm_earlier``: the same in the lives of
    labs that died, (from, until). ``read``: source -> what the view holds; a source that is not named holds nothing. An
    empty ``hashes`` with events: that view cannot be compared by value, which is evidence amiss where ``by_value`` says
    that it can; so are times that are missing where it is ``timed``. ``asked_at_ms``: what came later need not be in the
    read. ``begun_at_ms``: since when it holds all that.
    """

    view: str
    step: str
    hop: str = ""
    holds: str = "events"
    types: list[str] = field(default_factory=list)
    counted_types: list[str] = field(default_factory=list)
    by_value: bool = False
    by_effect: bool = False
    timed: bool = False
    reported: bool = False
    """Its stage reported over time what it had seen."""
    named_by: str = ""
    """Of a view of registers: it has one for each "terminal", or each "store", of the fleet; '' where nobody says."""
    follows: str = ""
    """The view of events whose holdings these registers show: no time excuses that they differ."""
    read: dict[str, ViewRead] | None = None
    heard: bool = False
    """Nobody keeps it: the lab itself heard it on the broker."""
    missed_some: bool = False
    """The lab may have missed as many events as it lacks: what is missing in it need not be lost."""
    unreached: Sets | None = None
    """Events that the view's feed had not come to when it was read; None: that is not known."""
    registers_expected: dict[str, object] = field(default_factory=dict)
    registers_found: dict[str, object] | None = None
    registers_changed_ms: dict[str, int] | None = None
    """When what is behind a register changed last before the view was asked; None: that is not said."""
    totals_found: dict[tuple[str, str], Total] | None = None
    timeline: list[Reading] = field(default_factory=list)
    undecided_until_ms: int = 0
    healed_at_ms: int | None = 0
    calm_since_ms: int | None = None
    calm_earlier: list[tuple[int, int]] = field(default_factory=list)
    converged_at_ms: int | None = None
    read_at_ms: int | None = None
    asked_at_ms: int | None = None
    clock_steps: list[ClockStep] = field(default_factory=list)
    """When the host's clock was set, by which events are stamped: what lies on both sides is not late for the step."""
    begun_at_ms: int = 0
    """Since when it holds what it holds: what came before a rebuild it had to take in again; 0: not said."""
    deadline_s: float = 10.0

    @property
    def punctual_from_ms(self) -> int | None:
        """From when on events must come within the deadline; None: never, since the faults were not lifted."""
        if self.healed_at_ms is None or self.calm_since_ms is None:
            return self.healed_at_ms
        return self.calm_since_ms

    def calm_from_ms(self, at_ms: int) -> int | None:
        """From when on events must have come within the deadline, asked at this moment; None: nothing is late then."""
        for from_ms, until_ms in self.calm_earlier:
            if from_ms <= at_ms <= until_ms:
                return from_ms
        return self.punctual_from_ms

    @property
    def earliest_calm_ms(self) -> int | None:
        """Before this nothing can be late; None: never is anything late."""
        if not self.calm_earlier:
            return self.punctual_from_ms
        known = [from_ms for from_ms, _ in self.calm_earlier]
        if self.punctual_from_ms is not None:
            known.append(self.punctual_from_ms)
        return min(known, default=None)

    @property
    def was_read(self) -> bool:
        """Whether there is a final read."""
        return (self.read if self.holds == "events" else self.registers_found) is not None


@dataclass(slots=True, frozen=True)
class Skip:
    """What a view could not use: the id of a document, and why."""

    stage: str
    id: str
    reason: str
    detail: str = ""


@dataclass(slots=True, frozen=True)
class Intervention:
    """What somebody did to the lab by its own means: a command, or a fault of this type."""

    kind: str
    begin_ms: int


@dataclass(slots=True, frozen=True)
class Incident:
    """Something that happened at a hop or to a process of a stage: a fault, a standstill, an end that nobody asked for."""

    place: str
    from_ms: int
    until_ms: int
    """FOREVER_MS: it was not over at the end."""
    words: str
    kind: str = ""
    """``fault``, ``standstill``, ``end`` of a process, or ``trouble``."""


@dataclass(slots=True, kw_only=True)
class History:
    """All facts of a run. ``notes``: unknown reasons that the reader of the facts found already, code -> detail."""

    ledger: Ledger | None = field(default_factory=Ledger)
    stages: list[StageRecord] = field(default_factory=list)
    views: list[ViewRecord] = field(default_factory=list)
    stalls: list[Stall] = field(default_factory=list)
    machine: MachineRecord | None = None
    """What was measured of the machine; None where nobody says."""
    aborted: bool = False
    interrupted: bool = False
    """Somebody ended the run: the views had the time of the drain to come up, not their deadline."""
    drains: bool = True
    """The run was to end with nothing unresolved."""
    allowed_rejections: frozenset[str] = frozenset()
    """Reasons under which well-formed events may be rejected in this run."""
    notes: list[tuple[str, str]] = field(default_factory=list)
    broker: BrokerAccount | None = None
    """Our own broker's word about itself."""
    expected_bodies: dict[Key, Any] = field(default_factory=dict)
    """What altered events must have said, as far as it could be made again; plain JSON values."""
    found_bodies: dict[tuple[str, Key], Any] = field(default_factory=dict)
    """(view, key) -> what an altered event says there, as far as the final read kept it."""
    told_until_ms: int | None = None
    """When the first view of events was asked."""
    ended_ms: int | None = None
    """When every stage had ended, as far as the host's clock may have gone; None: that is not known."""
    witnessed_bytes: int | None = None
    """How long the file of witnesses was then: reports behind that blame nobody for what a view lacked."""
    letters: Letters | None = None
    """The dead letters that were heard; None: nobody listened, or what was heard is not there."""
    skips: list[Skip] = field(default_factory=list)
    """What the views say at the end that they could not use."""
    interventions: list[Intervention] = field(default_factory=list)
    untrue_messages: dict[str, int] = field(default_factory=dict)
    """Source -> messages that claim to be canonical events of it and bear no key."""
    untrue_documents: dict[str, int] = field(default_factory=dict)
    """Source -> documents that say they are events of it, under an id that is no key."""
    planted_contents: dict[Key, bytes] = field(default_factory=dict)
    """Content hash of the other content of planted conflicts, as far as it could be made again."""
    unheard_stages: frozenset[str] = frozenset()
    """Stages that did not answer right before the final reads."""
    broken_lines: int = 0
    """Lines of the witnesses' file that say nothing; a lab that is killed leaves one half written."""
    run: RunAccount = field(default_factory=RunAccount)
    faults: list[FaultAccount] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)
    """What may have been the reason of something; it judges nothing."""
    restarts: dict[str, list[str]] | None = None
    """Process -> how each of its ends was that nobody had asked for; None: nobody says."""
    allow: dict[str, int] = field(default_factory=dict)
    """Budgets that were given (:mod:`storefleet.verdict.budgets`)."""


def path_to(stages: Mapping[str, StageRecord], step: str) -> list[StageRecord]:
    """The stages from the first to that of this step; ``stages`` by step."""
    path: list[StageRecord] = []
    while step in stages and len(path) <= len(stages):
        path.append(stages[step])
        step = stages[step].after
    return path[::-1]


def key_text(source: str, sequence: int) -> str:
    """The one text form of a key."""
    return str(Key(source, sequence))
