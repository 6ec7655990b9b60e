"""What the lab knows of its stages while they run: the union of all witnesses, rates, backlogs, distances.

A snapshot can be late or lost, never wrong: unions only grow. They tell what a stage has ever had; what a view holds now
is ``held``, which begins anew with each rebuild of the view and each start of its process. Every snapshot is also appended
to ``witnesses.jsonl``, which is what a recorded run is judged by. One that cannot be, or that tells of another stage's
view, is refused whole and leaves nothing; it shows as a number that is missing among those of its incarnation.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from fleetwire import bounded_json
from fleetwire.errors import BadPayload
from fleetwire.identity import Terminal
from fleetwire.intervals import IntervalSet
from fleetwire.possible import Impossible, possible_in_all
from fleetwire.witness import SOURCE_LIMIT, Snapshot
from storefleet.contents import Held
from storefleet.current_troubles import CurrentTroubles
from storefleet.run_log import Note, unnoted
from storefleet.standstills import Standstills
from storefleet.verdict.machine import LAB_PROCESS, Cause, Stall
from storefleet.verdict.run_format import WitnessesHeader
from storefleet.verdict.witnesses_header import header_line, is_header, read_header

_log = logging.getLogger(__name__)
_decode = bounded_json.Decoder(Snapshot).decode

EVENT_VIEWS = {"poseidon": "orders", "views": "sales"}
"""Stage -> the view whose events its witness counts."""
REGISTER_VIEWS = {"store_board": "views", "device_inventory": "views", "olympus_dgs": "olympus_dgs"}
"""View of registers -> the stage whose witness tells them."""
TERMINALS: Final = "terminals"
"""Under this name the emulator tells what its terminals really are."""
VIEW_OWNERS: Final = {TERMINALS: "emulator", **REGISTER_VIEWS, **{view: stage for stage, view in EVENT_VIEWS.items()}}
"""View -> the only stage that may tell of it."""
STALL_LIMIT = 10_000
"""So many are kept of a run: of what the lab measured of its machine, and again of all stages together."""
CLOSED = ("OFFLINE", "PLANNED_CLOSED")
RATE_WINDOW_S: Final = 0.5
"""A stage that is asked just now has told of a moment only: too short to tell a rate by."""
ASTRAY_MS: Final = 1_000
"""A report whose own time is further from ours was written by another clock."""
FLOW_COUNTERS = {"gateway": "documents_written", "olympus_dgs": "stored_total"}
"""Stages that handle no events but documents: the counter that shows how much they do."""


@dataclass(slots=True)
class RateWindow:
    """How counters grew over the last span of at least RATE_WINDOW_S; ``began_ms``: where the next one begins."""

    began_ms: int = 0
    began: dict[str, float] = field(default_factory=dict)
    grown: dict[str, float] = field(default_factory=dict)
    span_s: float = 0.0

    def look(self, at_ms: int, counters: dict[str, float], *, anew: bool) -> None:
        """The newest counters; ``anew``: of another incarnation, which began with nothing."""
        if anew:
            self.began = {}
        span_s = (at_ms - self.began_ms) / 1000
        if not self.began_ms or span_s < 0:
            self.began_ms, self.began = at_ms, counters
        elif span_s >= RATE_WINDOW_S:
            before = self.began
            self.grown = {name: max(0.0, value - before.get(name, 0.0)) for name, value in counters.items()}
            self.span_s = span_s
            self.began_ms, self.began = at_ms, counters


@dataclass(slots=True)
class InstanceFigures:
    """The newest figures of one instance."""

    incarnation: int = 0
    number: int = 0
    at_ms: int = 0
    counters: dict[str, float] = field(default_factory=dict)
    rejects: dict[str, int] = field(default_factory=dict)
    duplicates_absorbed: int = 0
    loop_stall_ms: float = 0.0
    heard_s: float = 0.0
    """When this lab heard them, by the monotonic clock; 0: an earlier lab did."""
    as_of_ms: int = 0
    """The moment that they tell of, by this host's clock."""
    window: RateWindow = field(default_factory=RateWindow)


class Observatory:
    """Collects snapshots. ``events[stage]`` is the union of what all its instances ever took (or, for the emulator,
    committed), by source."""

    STALL_FLOOR_MS = 500.0

    def __init__(self, witnesses_file: Path, header: WitnessesHeader | None = None, note: Note = unnoted) -> None:
        """``header`` is written where the file is new; ``note`` hears of standstills and troubles."""
        self._path = witnesses_file
        self._file = witnesses_file.open("ab", buffering=0)
        self._ended = False
        self.unwritten = 0
        """Snapshots that the disk had no room for."""
        self.refusal = ""
        """Why it had none for the last one; empty: it had."""
        self.troubles = CurrentTroubles(note)
        self.standstills = Standstills(note)
        self.instances: dict[tuple[str, int], InstanceFigures] = {}
        self.events: dict[str, dict[str, IntervalSet]] = defaultdict(dict)
        self.handed_on: dict[str, dict[str, IntervalSet]] = defaultdict(dict)
        self.distinct: dict[str, int] = defaultdict(int)
        self.registers: dict[str, dict[str, Any]] = defaultdict(dict)
        self.held = {view: Held() for view in EVENT_VIEWS.values()}
        self._touched: set[str] = set()
        self.news_s: dict[tuple[str, str], float] = {}
        """Stage, and ``taken`` or ``handed_on`` -> when there was more of it last, by the monotonic clock."""
        self._register_words: dict[str, tuple[int, int]] = {}
        """View of registers -> incarnation and epoch of what is in ``registers``."""
        self.stalls: list[Stall] = []
        self._stalls_kept = Counter[bool]()
        """Of the machine (True), and of stages."""
        if header is not None and not self._file.tell():
            self._append(header_line(header))

    def recall(self) -> None:
        """Take in what an earlier lab of this run has written, and end the line that its death cut off.

        That takes long for a long run, and may be done in a thread: before anything is received. Raises SettingsError
        for a file of a newer version.
        """
        line = b""
        read_header(self._path)
        with self._path.open("rb") as file:
            for number, line in enumerate(file):
                if number == 0 and is_header(line):
                    continue
                try:
                    self._take(_checked(_decode(line)))
                except (msgspec.DecodeError, UnicodeDecodeError):
                    _log.info("a line of %s is torn, or says what cannot be; it is skipped", self._path)
        if line and not line.endswith(b"\n"):
            self._append(b"\n")

    def receive(self, params: Mapping[str, Any]) -> None:
        """Take one snapshot as it came over the control plane; raises msgspec.ValidationError for what cannot be one."""
        snapshot = _checked(msgspec.convert(params, Snapshot))
        self._append(msgspec.json.encode(snapshot) + b"\n")
        if snapshot.loop_stall_ms >= self.STALL_FLOOR_MS:
            began_ms = snapshot.at_ms - round(snapshot.loop_stall_ms)
            self.note_stall(f"{snapshot.stage}-{snapshot.instance}", began_ms, snapshot.loop_stall_ms)
        newest = self._take(snapshot)
        figures, now_ms = self.instances[snapshot.stage, snapshot.instance], time.time_ns() // 1_000_000
        figures.heard_s = time.monotonic()
        figures.as_of_ms = max(figures.as_of_ms, snapshot.at_ms if 0 <= now_ms - snapshot.at_ms < ASTRAY_MS else now_ms)
        if newest:
            self.troubles.tell(f"{snapshot.stage}-{snapshot.instance}", snapshot.troubles)

    def _take(self, snapshot: Snapshot) -> bool:
        """False where a newer one of this instance came first."""
        self._unite(snapshot)
        late = self._overtaken(snapshot)
        if (view := EVENT_VIEWS.get(snapshot.stage)) and view in snapshot.holdings:
            self.held[view].hear(snapshot.incarnation, snapshot.holdings[view], late=late)
        if late:
            return False
        self._figure(snapshot)
        for view, holding in snapshot.holdings.items():
            if REGISTER_VIEWS.get(view) == snapshot.stage:
                self._begin_registers(view, (snapshot.incarnation, holding.epoch))
        for view, registers in snapshot.state.items():
            if isinstance(registers, dict):
                self.registers[view].update(registers)
                if view == TERMINALS:
                    self._touched.update(registers)
        return True

    def _begin_registers(self, view: str, word: tuple[int, int]) -> None:
        if word > self._register_words.get(view, (0, 0)):
            self._register_words[view] = word
            self.registers[view].clear()

    def _overtaken(self, snapshot: Snapshot) -> bool:
        """Whether a newer one of this instance came first: its figures and registers are not to be written over."""
        figures = self.instances.get((snapshot.stage, snapshot.instance))
        if figures is None or not snapshot.number:
            return False
        return (snapshot.incarnation, snapshot.number) < (figures.incarnation, figures.number)

    def note_stall(self, process: str, at_ms: int, duration_ms: float, cause: Cause = "event_loop") -> None:
        """Remember that a process stood still, and tell the log."""
        stall = Stall(process, at_ms, duration_ms, cause)
        self.keep_stall(stall)
        self.standstills.hear(stall)

    def keep_stall(self, stall: Stall) -> None:
        """Remember it; at most STALL_LIMIT are kept of the machine, and of stages."""
        of_machine = stall.process == LAB_PROCESS
        self._stalls_kept[of_machine] += 1
        if self._stalls_kept[of_machine] <= STALL_LIMIT:
            self.stalls.append(stall)
        elif self._stalls_kept[of_machine] == STALL_LIMIT + 1:
            whose = "the machine" if of_machine else "stages"
            _log.warning(
                "%s stalls of %s were noted; later ones are not kept, and excuse nothing", f"{STALL_LIMIT:,}", whose
            )

    def _append(self, line: bytes) -> None:
        """A line as a whole or not at all: of what the disk has no room for, a later snapshot holds as much and more."""
        if self._ended:
            return
        end = self._file.tell()
        try:
            complete = self._file.write(line) == len(line)
            reason = "no space left on device"
        except OSError as error:
            complete, reason = False, error.strerror or str(error)
        if complete:
            self.refusal = ""
            return
        self._file.truncate(end)
        self.refusal = reason
        self.unwritten += 1
        if self.unwritten == 1:
            _log.error(
                "%s: %s: make room on this disk; tills and stages commit nothing until there is, then they go on",
                self._path,
                reason,
            )

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def written_bytes(self) -> int:
        """How long the file is by now."""
        return self._file.tell()

    def end(self) -> None:
        """Write nothing more: the file is as the run leaves it."""
        self._ended = True

    def total(self, stage: str, counter: str) -> float:
        """Sum of a counter over the newest snapshots of a stage's instances."""
        return sum(figures.counters.get(counter, 0.0) for (name, _), figures in self.instances.items() if name == stage)

    def rate(self, stage: str, counter: str = "") -> float:
        """Events a second that a stage took (or by how much another of its counters grows), by its last snapshots; 0 when
        they are old."""
        name = counter or FLOW_COUNTERS.get(stage, "taken_total")
        newest_ms = time.time_ns() // 1_000_000 - 3_000
        return sum(
            figures.window.grown.get(name, 0.0) / figures.window.span_s
            for (one, _), figures in self.instances.items()
            if one == stage and figures.at_ms >= newest_ms and figures.window.span_s
        )

    def take_news(self) -> set[str]:
        """Sources of which more events came somewhere, and terminals that came or went, since the last call."""
        news, self._touched = self._touched, set()
        return news

    def of_stage(self, stage: str) -> dict[int, InstanceFigures]:
        """The newest figures of every instance of a stage that has ever reported."""
        return {instance: figures for (name, instance), figures in self.instances.items() if name == stage}

    def is_online(self, terminal: str) -> bool:
        """Whether a terminal is, by the emulator's newest word."""
        state = self.registers[TERMINALS].get(terminal)
        return state is None or bool(state[0])

    def incarnation_heard(self, view: str) -> int:
        """Whose word it is, what a view of a stage holds or shows; 0: nobody's yet."""
        held = self.held.get(view)
        return held.word[0] if held is not None else self._register_words.get(view, (0, 0))[0]

    def evidence(self, view: str) -> list[dict[str, IntervalSet]]:
        """All that proves which events a view has had, where it does not say it; what lies downstream proves it too."""
        evidence = {
            "gateway": [self.handed_on["sync_stage"], self.events["poseidon"], self.events["views"]],
            "canonical": [self.handed_on["parm"]],
            "raw": [self.handed_on["emulator"]],
        }
        return evidence.get(view, [])

    def register_distance(self, view: str) -> int:
        """How many registers of a view differ from what the terminals really are, are missing, or are nobody's."""
        truth = self.board_truth() if view == "store_board" else self.device_truth()
        found = self.registers[view]
        wrong = sum(not _is_acceptable(found.get(name), values) for name, values in truth.items())
        return len(found.keys() - truth.keys()) + wrong

    def device_truth(self) -> dict[str, list[Any]]:
        """Acceptable values of every terminal's register."""
        return {name: [value] for name, value in self.registers["terminals"].items()}

    def board_truth(self) -> dict[str, list[Any]]:
        """Acceptable statuses of every store: OPEN when all its terminals are online, DEGRADED when some are."""
        online: dict[str, list[bool]] = defaultdict(list)
        for terminal, value in self.registers["terminals"].items():
            online[terminal.rpartition(".")[0]].append(bool(value[0]))
        return {store: _statuses(states) for store, states in online.items()}

    def stores_online(self) -> dict[str, tuple[int, int, int]]:
        """Region -> (stores online by the store board, stores, stores online by the terminals' own word).

        Online is what is not offline or closed. Where there is no board, the terminals' word stands for it.
        """
        found = self.registers["store_board"]
        result: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
        for store, statuses in self.board_truth().items():
            counts = result[store.split(".")[1]]
            counts[0] += found.get(store, statuses[0]) not in CLOSED
            counts[1] += 1
            counts[2] += statuses[0] not in CLOSED
        return {region: (counts[0], counts[1], counts[2]) for region, counts in sorted(result.items())}

    def _figure(self, snapshot: Snapshot) -> None:
        figures = self.instances.setdefault((snapshot.stage, snapshot.instance), InstanceFigures())
        figures.window.look(snapshot.at_ms, snapshot.counters, anew=figures.incarnation != snapshot.incarnation)
        figures.incarnation = snapshot.incarnation
        figures.number = snapshot.number
        figures.at_ms = snapshot.at_ms
        figures.counters = snapshot.counters
        figures.rejects = snapshot.rejects
        figures.duplicates_absorbed = snapshot.duplicates_absorbed
        figures.loop_stall_ms = snapshot.loop_stall_ms

    def _unite(self, snapshot: Snapshot) -> None:
        events, handed_on = self.events[snapshot.stage], self.handed_on[snapshot.stage]
        had_room = len(events) < SOURCE_LIMIT
        now_s = time.monotonic()
        if gained := _add(events, snapshot.taken):
            self.distinct[snapshot.stage] += gained
            self.news_s[snapshot.stage, "taken"] = now_s
        if _add(handed_on, snapshot.handed_on):
            self.news_s[snapshot.stage, "handed_on"] = now_s
        self._touched.update(snapshot.handed_on)
        if snapshot.stage != "emulator":  # what it has committed comes with the ledger
            self._touched.update(snapshot.taken)
        if had_room and len(events) >= SOURCE_LIMIT:
            _log.error(
                "%s has told of %d sources: further ones are in %s and in no live figure",
                snapshot.stage,
                SOURCE_LIMIT,
                self._path,
            )


_TerminalState = Annotated[list[Any], Meta(min_length=1)]
"""Online or not comes first."""


def _checked(snapshot: Snapshot) -> Snapshot:
    """The snapshot, which can be and is its stage's own; raises msgspec.ValidationError."""
    possible_in_all(snapshot)
    for view in (*snapshot.state, *snapshot.holdings):
        if VIEW_OWNERS.get(view, snapshot.stage) != snapshot.stage:
            raise Impossible(f"{snapshot.stage} tells of {view}, which is {VIEW_OWNERS[view]}'s to tell")
    if TERMINALS in snapshot.state:
        for name in msgspec.convert(snapshot.state[TERMINALS], dict[str, _TerminalState]):
            try:
                Terminal.parse(name)
            except BadPayload as error:
                raise Impossible(str(error)) from error
    return snapshot


def _add(sets: dict[str, IntervalSet], report: Mapping[str, list[tuple[int, int]]]) -> int:
    """Unite; returns how many numbers were new. A source beyond SOURCE_LIMIT is left out."""
    gained = 0
    for source, intervals in report.items():
        if source not in sets and len(sets) >= SOURCE_LIMIT:
            continue
        union = sets.setdefault(source, IntervalSet())
        before = union.count
        for first, last in intervals:
            union.add_range(first, last)
        gained += union.count - before
    return gained


def _is_acceptable(found: object, values: list[Any]) -> bool:
    """A terminal that is offline may have had a session, later than its last, of which only the broker knows: of a CONNECT
    that was taken and whose answer was cut off, the broker publishes the will."""
    if found in values:
        return True
    match found, values:
        case [False, int(boot), int(bd_seq)], [[False, int(last_boot), int(last_bd_seq)]]:
            return (boot, bd_seq) > (last_boot, last_bd_seq)
    return False


def _statuses(online: list[bool]) -> list[Any]:
    if all(online):
        return ["OPEN"]
    return ["DEGRADED"] if any(online) else ["OFFLINE", "PLANNED_CLOSED"]
