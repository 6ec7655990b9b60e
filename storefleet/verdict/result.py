"""The verdict as a value: what ``verdict.json`` holds, format version 1, and the fixed tables of reasons.

Validity is ``valid``, ``invalid`` or ``unknown``; together the worst counts: invalid before unknown before valid. A
reader of ``verdict.json`` may rely on every field here within a version.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from msgspec import Struct, field

from storefleet.verdict.machine import Cause, MachineRecord

VERDICT_FORMAT: Final = "storefleet-verdict"
VERDICT_VERSION: Final = 1
EXAMPLE_LIMIT: Final = 20
KEY_LIMIT: Final = 5
"""So many of a finding are shown with all that is known of each."""
NAMED_LETTER_LIMIT: Final = 100
TROUBLE_LIMIT: Final = 20

Validity = Literal["valid", "invalid", "unknown"]
EXIT_STATUS: Final[dict[Validity, int]] = {"valid": 0, "invalid": 1, "unknown": 3}
_WORST: Final[tuple[Validity, ...]] = ("invalid", "unknown", "valid")

INVALID_REASONS: Final[dict[str, str]] = {
    "lost": "events that are acknowledged as applied are missing in a view",
    "corrupted": "events arrived with another content than the terminals sent",
    "duplicated": "the effect of events shows more than once in a view",
    "unexpected": "a view holds what was never sent, was rejected, or should have been rejected",
    "stale": "events came later than the deadline allows",
    "rejected": "events were rejected that the ledger holds for well-formed, or under another reason than expected",
    "no_outcome": "events had their whole deadline in a healed lab, and nobody was told what became of them",
    "late": "a view took longer than its deadline to agree",
    "registers_differ": "registers of a state view differ from the last true state",
    "totals_differ": "totals of a view do not add up to the events that it holds",
    "dead_letters": "messages under the terminals' own names ended as dead letters, and nothing that was planted or done"
    " explains it",
    "rejected_without_letter": "events were rejected, and none of the dead letters, which were all heard, tells of them",
    "untrue_messages": "messages or documents that are no events were put there as events of the terminals",
    "over_budget": "the run shows more than its budgets allow",
}

UNKNOWN_REASONS: Final[dict[str, tuple[str, str]]] = {
    "ledger_missing": ("there is no ledger", "a run folder with its ledger.sqlite"),
    "ledger_unreadable": ("the ledger cannot be read", "an undamaged ledger.sqlite"),
    "ledger_gaps": ("the ledger lacks numbers of a source", "the whole ledger, with every shard of the fleet"),
    "ledger_contradicts": (
        "the ledger tells of events that nobody committed",
        "an undamaged ledger.sqlite, of this run alone",
    ),
    "nothing_sent": ("no terminal committed any event", "a run that lasts until terminals trade"),
    "no_final_read": ("a view was not read at the end", "a run that reaches its final reads"),
    "read_broken": ("a final read contradicts itself", "a final read with one hash for each event it lists"),
    "heard_in_part": (
        "the broker dropped messages, of which some may be the lab's own copies of what it is to judge",
        "a run whose broker drops nothing",
    ),
    "times_contradict": (
        "a view says that it applied events before they were committed, so that its times prove nobody punctual",
        "a run whose terminals and views stamp by one clock, which nobody sets unseen",
    ),
    "evidence_missing": (
        "what a lab always records is missing here, so nothing follows from its absence",
        "an undamaged run folder",
    ),
    "seal_broken": (
        "what the run folder holds is not what its run left there, so nothing follows from it",
        "the run folder as its run left it",
    ),
    "never_sealed": (
        "the run did not come to seal its folder, so nobody can say whether this is all of it",
        "a run that comes to its end, or the plan.json that it left",
    ),
    "witnesses_missing": ("there are no witnesses", "a run folder with its witnesses.jsonl"),
    "witnesses_of_another_run": (
        "the witnesses are another run's, and prove nothing about this one",
        "the witnesses.jsonl that belongs to this plan.json",
    ),
    "plan_broken": ("the plan says what cannot be", "an undamaged plan.json"),
    "stage_dead": ("a stage of ours was dead at the end", "a run at whose end every stage of ours lives"),
    "witness_full": (
        "a witness had no room for all that passed, so that lateness at its stage cannot be judged",
        "a run with fewer sources and gaps than a witness has room for",
    ),
    "aborted": (
        "the run was cut short with events unresolved, or before a view's feed had come to them",
        "a run that is left to drain for its whole deadline",
    ),
    "unresolved": (
        "events got no outcome, and had less than their deadline for it before the end, or before their terminal was closed",
        "a longer drain, or a terminal that is open at the end",
    ),
    "not_healed": ("the faults were not lifted before the end", "a run that lifts its faults and waits"),
    "read_too_soon": (
        "registers differed that had less than the deadline to become right",
        "a final read that comes a deadline after the last fault, rebuild and change of a terminal",
    ),
    "registers_unknown": (
        "registers differ from the ledger, whose writer did not run, so that nobody knows what they must show",
        "a run whose emulator runs for a deadline before the final reads",
    ),
    "convergence_unmeasured": (
        "a view was right at the end, but nobody measured when it became so",
        "readings of that view until it agrees",
    ),
    "letters_missing": ("there is no record of the dead letters", "a run folder with its letters.jsonl"),
    "letters_unheard": (
        "stages counted dead letters that nobody heard, so that nobody knows whose they are",
        "a run whose lab hears every dead letter, and no more of them than it writes down",
    ),
    "machine_stalled": (
        "a deadline was missed while the machine itself stood still",
        "the same run on a machine with time for it",
    ),
    "budget_unsure": (
        "a budget is kept by what was counted, and more may have happened than was counted",
        "a run in which nothing escapes the count",
    ),
    "checker_failed": ("the checker itself failed", "a report of this bug with the run folder"),
}
"""Code -> what is the matter, what would make it known. No verdict is unknown for a reason that is not here."""


class Unknown(Struct, frozen=True, kw_only=True):
    """Why something is not known: a code of UNKNOWN_REASONS and the particulars."""

    code: str
    text: str
    would_make_it_known: str
    detail: str = ""


class Invalid(Struct, frozen=True, kw_only=True):
    """Why the verdict is invalid: a code of INVALID_REASONS and the particulars."""

    code: str
    text: str
    detail: str = ""


class FieldDifference(Struct, frozen=True, kw_only=True):
    """One field of an event that was altered on the way; both values as JSON, ``absent`` where there is none."""

    path: str
    expected: str
    found: str


class Example(Struct, frozen=True, kw_only=True):
    """One event, register or total that is not as it should be."""

    name: str
    """Text form of the key, name of the register, or ``store day``."""
    view: str = ""
    guest: bool = False
    """No terminal of this fleet has that source: somebody else sent it, or a stage made it up."""
    expected: str = ""
    found: str = ""
    places: list[str] = field(default_factory=list)
    """Hops and stages to blame in flow order; one = decided, more = one of these."""
    fields: list[FieldDifference] = field(default_factory=list)
    """Of a corrupted event, where both bodies are known; else ``expected`` and ``found`` are all that is known."""
    last_seen: str = ""
    """The last stage that had it (had it right), by all evidence; empty where it has no place."""
    last_seen_step: str = ""
    """Which of its passages, where the journey passes that stage twice."""
    last_seen_at_ms: int = 0
    """When, unix milliseconds; 0: nobody says."""
    last_seen_exactly: bool = True
    """False: it was seen there by then, and nobody says since when."""
    first_missing: str = ""
    """The first stage or view behind it that lacks it (has it wrong, too late or too often)."""
    first_seen_at_ms: int = 0
    """When it was there nevertheless, as what nobody sent is; 0: it was not, or nobody says."""
    sent_at_ms: int = 0
    """When its terminal committed it; 0: it never did, or it is no event."""


class Suspect(Struct, frozen=True, kw_only=True):
    """A hop or stage at a place where something went wrong, and why it rather than its neighbours."""

    name: str
    yours: bool = False
    """It is a stage of the user's own, so that no witness of ours is in it."""
    why: str = ""
    """A fault that was in force on it, or how its process fared meanwhile."""


class FindingPlace(Struct, frozen=True, kw_only=True):
    """How many of a finding went wrong at one address."""

    count: int
    """0: the detail says it."""
    places: list[str] = field(default_factory=list)
    """The whole span, as in :class:`PlaceAccount`; or the stage that said so."""
    last_seen: str = ""
    first_missing: str = ""
    suspects: list[Suspect] = field(default_factory=list)
    """The only place there is; of a span, those on which something points."""
    detail: str = ""


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that is wrong, as a person asks for it: what, how many, where, since when, what next."""

    code: str
    """Of INVALID_REASONS; ``never_read`` for events without an outcome for which nobody need answer."""
    what: str
    """In words, with the count."""
    count: int
    view: str = ""
    """Whose registers, totals or time it is; empty where it is about events."""
    from_ms: int = 0
    until_ms: int = 0
    """When the first and the last of them were sent, or happened; unix milliseconds, 0: nobody says."""
    since: str = ""
    """What happened then: "sent", "heard", ..."""
    places: list[FindingPlace] = field(default_factory=list)
    meanwhile: list[str] = field(default_factory=list)
    """Faults that were in force, and processes that ended or stood still, in words."""
    keys: list[Example] = field(default_factory=list)
    """The first KEY_LIMIT; of each place at least one, as far as there is room."""
    next_command: str = ""
    """What shows more."""


class ClassAccount(Struct, kw_only=True):
    """How many events are of a class; some of them by name."""

    count: int = 0
    examples: list[Example] = field(default_factory=list)


class LetterAccount(Struct, frozen=True, kw_only=True):
    """Dead letters of one kind: of one message where nothing explains them, else all with the same explanation."""

    key: str = ""
    """Text form of the key, or the topic of a message without one; empty for many."""
    stage: str
    reason: str
    explained_by: str = ""
    """Empty: nothing explains it, and the verdict is invalid."""
    count: int = 1
    detail: str = ""
    by_hand: bool = False
    """It came on a terminal's topic, and the terminal has sent no event of that key, or none without."""
    fields: list[FieldDifference] = field(default_factory=list)
    """What the message says, beside what the terminal sent, where both are known."""
    first_at_ms: int = 0
    last_at_ms: int = 0
    """When it was heard for the first time, and for the last; 0: it was not heard, but found in a view's own list."""


class PlaceAccount(Struct, frozen=True, kw_only=True):
    """What went wrong at an address. ``what``: a class, or ``healed`` for a loss that a re-send made good."""

    what: str
    places: list[str]
    count: int
    keys: list[str] = field(default_factory=list)
    """The first KEY_LIMIT of them."""


class BudgetAccount(Struct, frozen=True, kw_only=True):
    """How much there was of something that may be, and how much the run's budget allows (None: as much as there is)."""

    name: str
    """A row of :data:`storefleet.verdict.budgets.BUDGETS`."""
    words: str
    count: int
    allowed: int | None = None
    known: bool = True
    """False: there may have been more, or nobody counted."""
    exceeded: bool = False
    unsure: bool = False
    """Within the budget by what was counted, and perhaps not by what was not."""
    details: list[str] = field(default_factory=list)


class RunAccount(Struct, frozen=True, kw_only=True):
    """Which run this is; what is 0 or empty nobody said."""

    name: str = ""
    folder: str = ""
    """As whoever judges it would name it on a command line here."""
    started_at_ms: int = 0
    ended_at_ms: int = 0
    stores: int = 0
    terminals: int = 0
    seed: int = 0
    rate_per_s: float = 0.0


class FaultAccount(Struct, frozen=True, kw_only=True):
    """A fault that was in force; ``effect`` is the hop's own word for whether it did something."""

    name: str
    type: str
    hop: str
    of: str
    """On whom: its attributes, in words."""
    begin_ms: int
    end_ms: int = 0
    """0: it was not lifted."""
    ended_by_itself: bool = False
    """Nobody lifted it: its lease was over, or its process died."""
    effect: str = ""


class BrokerAccount(Struct, frozen=True, kw_only=True):
    """Our own broker's word about itself; ``dropped`` is summed over its restarts, the others are the most it said.

    Its count is global and names no hop: it stands beside the account of attempts, it proves nothing alone.
    """

    dropped: int = 0
    restarts: int = 0
    most_clients_connected: int = 0
    most_messages_stored: int = 0


class MachineAccount(MachineRecord, kw_only=True):
    """How long the machine stood still over the whole run, each moment under one cause, beside what was measured."""

    stalled_ms: float = 0.0
    stalled_by_cause: dict[Cause, float] = field(default_factory=dict)


class ViewAccount(Struct, kw_only=True):
    """How one view fared."""

    view: str
    validity: Validity
    read: bool
    by_value: bool = False
    counts: dict[str, int] = field(default_factory=dict)
    differences: list[Example] = field(default_factory=list)
    difference_count: int = 0
    lateness_judged: bool = True
    """False: nobody says when events came to this view, so that nothing is known of their lateness."""
    healed_to_converged_ms: int | None = None
    deadline_ms: int = 0
    stalled_ms: float = 0.0
    """How long the machine stood still meanwhile."""
    stalled_by_cause: dict[Cause, float] = field(default_factory=dict)


class Verdict(Struct, kw_only=True):
    """The verdict on a run. ``counts`` add up to ``sent`` + ``invented``."""

    format: str = VERDICT_FORMAT
    version: int = VERDICT_VERSION
    validity: Validity
    run: RunAccount = RunAccount()
    findings: list[Finding] = field(default_factory=list)
    """What is wrong, the gravest first: all that a person needs to begin with."""
    budgets: list[BudgetAccount] = field(default_factory=list)
    """Every row of :data:`storefleet.verdict.budgets.BUDGETS`."""
    faults: list[FaultAccount] = field(default_factory=list)
    restarts: dict[str, list[str]] | None = None
    """Process -> how each of its ends was that nobody had asked for; None where nobody says."""
    troubles: list[str] = field(default_factory=list)
    """What stages, or the lab, said was wrong with them, in words: a full disk, a refused subscription; the first 20."""
    sent: int = 0
    invented: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    classes: dict[str, ClassAccount] = field(default_factory=dict)
    """Every class but ok that has a member."""
    invalid: list[Invalid] = field(default_factory=list)
    unknown: list[Unknown] = field(default_factory=list)
    places: list[PlaceAccount] = field(default_factory=list)
    views: list[ViewAccount] = field(default_factory=list)
    views_not_judged: list[str] = field(default_factory=list)
    """Views that were there, of which nothing is known: somebody else's stage makes or shows them."""
    rejected_by_reason: dict[str, int] = field(default_factory=dict)
    rejected_unexpectedly: int = 0
    duplicates_absorbed: dict[str, int] = field(default_factory=dict)
    dead_letters: dict[str, dict[str, int]] = field(default_factory=dict)
    """Stage -> reason -> how many, as the broker gave them to the lab or the stage counted them, whichever is more."""
    dead_letters_at_least: bool = False
    """There may have been more: the lab did not hear all of them."""
    letters: list[LetterAccount] = field(default_factory=list)
    """What nothing explains first, the first NAMED_LETTER_LIMIT messages of it; then the explained by kind."""
    guests: dict[str, dict[str, int]] = field(default_factory=dict)
    """Stage (or view) -> reason -> dead letters under names that no terminal of this fleet has."""
    resent: int = 0
    resent_needlessly: int = 0
    resent_not_known: int = 0
    """Sent again, arrived; whether the first sending was lost on the way, a stage that died cannot say any more."""
    broken_lines: int = 0
    """Lines of the witnesses' file that were skipped: a lab that is killed leaves one half written."""
    refused_reports: dict[str, int] = field(default_factory=dict)
    """Who said it -> how many reports the lab refused at its door; nothing of them is in what was judged."""
    repeats_planted: int = 0
    conflicts_planted: int = 0
    machine: MachineAccount = field(default_factory=MachineAccount)
    broker: BrokerAccount | None = None
    """None where the broker is somebody else's, or nobody asked it."""

    @property
    def exit_status(self) -> int:
        """What a command that ends with this verdict returns."""
        return EXIT_STATUS[self.validity]


def worst(validities: Iterable[Validity]) -> Validity:
    """The worst of several; valid when there is none."""
    return min(validities, key=_WORST.index, default="valid")


def validity(*, bad: bool, unsure: bool) -> Validity:
    """The validity of something with reasons against it, and with reasons to be unsure."""
    return "invalid" if bad else "unknown" if unsure else "valid"


def unknown(code: str, detail: str = "") -> Unknown:
    """An entry of the table with its particulars; raises KeyError for a code that is not in it."""
    text, would_make_it_known = UNKNOWN_REASONS[code]
    return Unknown(code=code, text=text, would_make_it_known=would_make_it_known, detail=detail)


def invalid(code: str, detail: str = "") -> Invalid:
    """An entry of the table with its particulars; raises KeyError for a code that is not in it."""
    return Invalid(code=code, text=INVALID_REASONS[code], detail=detail)
