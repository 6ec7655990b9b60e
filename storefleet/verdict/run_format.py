"""The files of a run folder, format version 1, as types: what the lab writes and the checker reads.

| file | holds |
|---|---|
| ``plan.json`` | :class:`Plan`: what was to happen, and how the run itself went |
| ``ledger.sqlite`` | :mod:`fleetwire.ledger_format` |
| ``witnesses.jsonl`` | a :class:`WitnessesHeader`, then one :class:`fleetwire.witness.Snapshot` a line, as they arrived |
| ``letters.jsonl`` | :mod:`storefleet.verdict.letter_file`: every dead letter that was heard |
| ``log.jsonl`` | :mod:`storefleet.verdict.log_file`: what happened, in order |
| ``reads.json`` | :class:`Reads`: the final read of every view |
| ``verdict.json``, ``junit.xml``, ``report.txt`` | what the checker made of it |

After a valid run the folder is slimmed, unless ``--keep all`` was given: the state of our own stages (``state/``) is
dropped, and large evidence is packed (``witnesses.jsonl.gz``, ...: ordinary gzip files, which ``gunzip`` may unpack where
they lie). The plan's version is 2 then, and its seal names what was dropped, packed and kept.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct, field

from fleetwire.intervals import Interval
from fleetwire.witness import ViewRead
from storefleet.verdict.journey import JOURNEY, VIEWS, JourneyStep, JourneyView
from storefleet.verdict.machine import MachineRecord, Stall
from storefleet.verdict.result import BrokerAccount
from storefleet.verdict.seal import Seal

PLAN_FORMAT: Final = "storefleet-run"
READS_FORMAT: Final = "storefleet-reads"
WITNESSES_FORMAT: Final = "storefleet-witnesses"
RUN_VERSION: Final = 1
SLIMMED_VERSION: Final = 2
"""Of the plan of a slimmed folder: an older storefleet would miss what is packed there."""
PLAN_FILE_NAME: Final = "plan.json"
WITNESSES_FILE_NAME: Final = "witnesses.jsonl"
READS_FILE_NAME: Final = "reads.json"
VERDICT_FILE_NAME: Final = "verdict.json"
JUNIT_FILE_NAME: Final = "junit.xml"
REPORT_FILE_NAME: Final = "report.txt"
CHECK_PHASE: Final = "check"
"""The last phase: every stage has ended, and nothing more is recorded."""


class Phase(Struct, frozen=True, kw_only=True):
    """A phase of the run: settle, faults on, faults off, recovery, final reads; unix milliseconds."""

    name: str
    from_ms: int
    until_ms: int = 0


class Plan(Struct, kw_only=True):
    """What was to happen, and how the run itself went. Written at the start and again at the end."""

    format: str = PLAN_FORMAT
    version: int = RUN_VERSION
    name: str = ""
    seed: int = 0
    started_at_ms: int = 0
    steps: list[JourneyStep] = field(default_factory=lambda: list(JOURNEY))
    """Only what was present."""
    views: list[JourneyView] = field(default_factory=lambda: list(VIEWS))
    views_not_judged: list[str] = field(default_factory=list)
    """Views that were there and are not read, since somebody else's stage makes or shows them."""
    deadline_s: float = 10.0
    deadlines_s: dict[str, float] = field(default_factory=dict)
    """By view, where it differs."""
    phases: list[Phase] = field(default_factory=list)
    drains: bool = True
    allowed_rejections: list[str] = field(default_factory=list)
    aborted: bool = False
    interrupted: bool = False
    """Somebody ended the run: the views had the time of the drain to come up, not their deadline."""
    dead_stages: list[str] = field(default_factory=list)
    """Stages that were dead when the run ended."""
    unheard_stages: list[str] = field(default_factory=list)
    """Stages of which an instance did not answer right before the final reads, or none was connected."""
    stalls: list[Stall] = field(default_factory=list)
    machine: MachineRecord | None = None
    """None: nobody watched the machine, or a storefleet that told of its event loop only."""
    letters: bool = False
    """The lab wrote down the dead letters that it heard."""
    untrue_messages: dict[str, int] = field(default_factory=dict)
    """Source that is named, or '' -> messages for canonical events that bear no key at all, where the lab reads them; each
    under the source of its topic and any other that it names."""
    refused_reports: dict[str, int] = field(default_factory=dict)
    """Who said it (a process, ``client``, ``stranger``) -> how many reports were refused at the lab's door."""
    broker: BrokerAccount | None = None
    """What our own broker said of itself, to stand beside what the checker finds."""
    restarts: dict[str, list[str]] | None = None
    """Process -> how each of its ends was that nobody had asked for; None: nobody says."""
    allow: dict[str, int] = field(default_factory=dict)
    """Budgets: a row of :data:`storefleet.verdict.budgets.BUDGETS` -> how many may be in a valid run."""
    sealed_at_end: bool = False
    """Whoever records this run seals its folder at the end (an older storefleet did not)."""
    seal: Seal | None = None
    """What the folder held then (:mod:`storefleet.verdict.seal`); None while the run goes on."""


class WitnessesHeader(Struct, kw_only=True, frozen=True):
    """The first line of a witnesses' file: whose they are. Files of older storefleets have none."""

    format: str = WITNESSES_FORMAT
    version: int = RUN_VERSION
    run: str = ""
    """:attr:`Plan.name`."""
    started_at_ms: int = 0
    """:attr:`Plan.started_at_ms`."""


class FinalRead(Struct, kw_only=True):
    """One view at the end. ``events`` for a view of events, registers for a state view; totals where it has them."""

    at_ms: int
    """When it was complete."""
    asked_at_ms: int = 0
    """When the view was asked: what came later need not be in it; 0: ``at_ms``."""
    begun_at_ms: int = 0
    """Since when the view holds what it holds: its file was made, or it was rebuilt; 0: not said."""
    healed_at_ms: int | None = None
    """When the last fault was lifted, or the first event was committed where there was none; None: not lifted."""
    calm_since_ms: int | None = None
    """Since when every event had to come within the deadline; None: since ``healed_at_ms``."""
    calm_earlier: list[tuple[int, int]] = field(default_factory=list)
    """The same for each lab of this run that died, from and until."""
    converged_at_ms: int | None = None
    events: dict[str, ViewRead] | None = None
    unreached: dict[str, list[Interval]] | None = None
    """Source -> events that the gateway held and the view's feed had not come to; None: that is not known."""
    registers: dict[str, object] | None = None
    registers_expected: dict[str, object] = field(default_factory=dict)
    registers_changed_ms: dict[str, int] = field(default_factory=dict)
    """Register -> when a terminal behind it changed last, as the ledger had it when the view was asked."""
    altered: dict[str, Any] = field(default_factory=dict)
    """Key text -> type, time, business_day_date and data of events whose content is not the ledger's; the first 100. With
    source, sequence and key where the document has them."""
    untrue: dict[str, int] = field(default_factory=dict)
    """Source -> documents that say they are events of it, under an id that is no key of an event."""
    skips: list[dict[str, str]] = field(default_factory=list)
    """What the view could not use: id, reason, detail, and the line's beginning; the oldest 1,000."""
    totals: list[tuple[str, str, int, int]] | None = None
    """Store, business day, how many, cents."""


class Reads(Struct, kw_only=True):
    """The final reads, by view; a view that is not named was not read."""

    format: str = READS_FORMAT
    version: int = RUN_VERSION
    views: dict[str, FinalRead] = field(default_factory=dict)
    told_until_row: int | None = None
    """The newest row of the ledger's outcomes when the first view was asked; None: not said."""
    witnessed_bytes: int | None = None
    """How long the witnesses' file was then; None: not said."""
