"""What the first lines of a verdict say, to the letter: what, how many, where, since when, what next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from fleetwire.identity import Key
from fleetwire.intervals import IntervalSet
from fleetwire.packed_times import packed_times
from storefleet.verdict.check import check
from storefleet.verdict.history import FOREVER_MS, History, Incident
from storefleet.verdict.incidents import incidents
from storefleet.verdict.lab_record import describe
from storefleet.verdict.letter_file import Letter, Letters
from storefleet.verdict.log_file import Happening
from storefleet.verdict.machine import Stall
from storefleet.verdict.result import FaultAccount, Finding, RunAccount, Verdict
from storefleet.verdict.table import plain_text
from tests.verdict.world import SOURCES, START_MS, content, healthy, lose, read_of, stage, view

ONE, TWO, _ = SOURCES
FOLDER = "runs/20231114-221320-lab"
ALL = IntervalSet([(1, 10)])
RAW = f"lab/terminal/transaction/taco/west/s0001/{ONE}"


def run(history: History) -> History:
    """The history of a run with a folder."""
    history.run = RunAccount(name="lab", folder=FOLDER, started_at_ms=START_MS, ended_at_ms=START_MS + 50_000)
    return history


def foreign(history: History, name: str) -> History:
    """A stage is the user's own, without a witness."""
    record = stage(history, name)
    record.foreign, record.witnessed, record.taken, record.handed_on = True, False, {}, {}
    return history


def first_lines(history: History, count: int = 10) -> list[str]:
    """What is printed first."""
    return plain_text(check(history), "lab").splitlines()[:count]


def never_answered(history: History, numbers: range, *, after: str, source: str = ONE) -> None:
    """Events are lost behind a step, and the terminal is told nothing of them."""
    assert history.ledger is not None
    entries = history.ledger.sources[source]
    for number in numbers:
        lose(history, source, number, after=after, handed_on=True)
        entries.applied = entries.applied.difference(IntervalSet([(number, number)]))
    history.told_until_ms = START_MS + 40_000


def test_a_stage_that_drops_after_acknowledging() -> None:
    """The sync stage says that the gateway has them, and the terminals were told that they are applied."""
    history = run(healthy())
    for number in (4, 5, 6):
        lose(history, ONE, number, after="sync_stage", handed_on=True)
    assert first_lines(history) == [
        "INVALID  lab: 3 of 30 events missing, although acknowledged as applied, on hop sync-gateway",
        "",
        "3 of 30 events missing, although acknowledged as applied",
        "  where   on hop sync-gateway",
        "  when    sent 22:13:24.000 to 22:13:26.000 UTC",
        f"  next    storefleet trace {ONE}.4 --run {FOLDER}",
        f"  {ONE}.4   last seen sync_stage, first missing gateway",
        f"  {ONE}.5   last seen sync_stage, first missing gateway",
        f"  {ONE}.6   last seen sync_stage, first missing gateway",
        "",
    ]


def test_a_stage_that_swallows() -> None:
    """Somebody else's PARM acknowledges events and forgets them: it is the suspect of the span that it stands in."""
    history = run(foreign(healthy(), "parm"))
    never_answered(history, range(4, 6), after="broker-raw")
    assert first_lines(history, 8) == [
        "INVALID  lab: 2 of 30 events without an outcome, although they had their whole deadline, suspect: parm (yours)",
        "",
        "2 of 30 events without an outcome, although they had their whole deadline",
        "  where   between broker and sync_stage; suspect: parm (yours)",
        "  when    sent 22:13:24.000 to 22:13:25.000 UTC",
        f"  next    storefleet trace {ONE}.4 --run {FOLDER}",
        f"  {ONE}.4   last seen broker, first missing sync_stage",
        f"  {ONE}.5   last seen broker, first missing sync_stage",
    ]


def test_a_stage_that_alters_a_cent() -> None:
    """Where both bodies are known, the field; in a view alone, that view."""
    history = run(healthy())
    sales = view(history, "sales").read
    assert sales is not None
    sales[ONE] = read_of(ONE, ALL, {4: 1})
    history.expected_bodies = {Key(ONE, 4): {"data": {"grand_cents": 1250}}}
    history.found_bodies = {("sales", Key(ONE, 4)): {"data": {"grand_cents": 1251}}}
    assert first_lines(history, 7) == [
        "INVALID  lab: 1 of 30 events altered on the way, between gateway and sales",
        "",
        "1 of 30 events altered on the way",
        "  where   between gateway and sales",
        "  when    sent 22:13:24.000 UTC",
        f"  next    storefleet trace {ONE}.4 --run {FOLDER}",
        f"  {ONE}.4   last right at gateway, first wrong at sales; data.grand_cents: expected 1250, found 1251",
    ]


def test_a_stage_of_the_users_that_alters() -> None:
    """It has no witness, so that it is the suspect of its span; where no body is known, the hashes."""
    history = run(foreign(healthy(), "parm"))
    for name in ("gateway", "orders", "sales"):
        read = view(history, name).read
        assert read is not None
        read[ONE] = read_of(ONE, ALL, {4: 1})
    assert first_lines(history, 8) == [
        "INVALID  lab: 1 of 30 events altered on the way, suspect: parm (yours)",
        "",
        "1 of 30 events altered on the way",
        "  where   between emulator and gateway; suspect: parm (yours)",
        "  when    sent 22:13:24.000 UTC",
        f"  next    storefleet trace {ONE}.4 --run {FOLDER}",
        f"  {ONE}.4   last right at emulator, first wrong at gateway; expected content {content(ONE, 4).hex()}, found",
        f"          content {content(ONE, 4, 1).hex()}",
    ]


def test_a_stage_that_sends_twice() -> None:
    """Nothing is wrong with what is absorbed, and the first line says it all the same."""
    history = run(foreign(healthy(), "parm"))
    absorbing = stage(history, "sync_stage")
    absorbing.duplicates_absorbed, absorbing.absorbed_since_ms = 30, START_MS + 2_000
    absorbing.last_report_ms = START_MS + 40_000
    assert first_lines(history, 6) == [
        "VALID, with 30 repeats absorbed  lab: everything that was sent arrived as it should",
        "",
        "30 repeats absorbed at sync_stage, of events that no terminal sent twice",
        "  where   from emulator to sync-broker; suspect: parm (yours)",
        "  when    absorbed 22:13:22.000 to 22:14:00.000 UTC",
        f"  next    storefleet log {FOLDER}",
    ]


@pytest.mark.parametrize("reason", ["re-sent", "planted", "restarted"])
def test_repeats_with_a_reason_are_no_news(reason: str) -> None:
    """What terminals sent again, or on purpose, or a broker had to deliver again, is not held against a stage."""
    history = run(healthy())
    stage(history, "sync_stage").duplicates_absorbed = 2
    assert history.ledger is not None
    if reason == "re-sent":
        history.ledger.sources[ONE].attempts = {4: 2, 5: 2}
    elif reason == "planted":
        history.ledger.sources[ONE].repeats = {4, 5}
    else:
        history.restarts = {"sync_stage-1": ["signal SIGKILL"]}
    assert "repeats" not in {finding.code for finding in check(history).findings}


def held_up(history: History) -> History:
    """Two events came 20 s after they were sent, and PARM stood still for as long."""
    for name in ("gateway", "orders", "sales"):
        record = view(history, name)
        record.timed, record.asked_at_ms, record.calm_since_ms = True, START_MS + 40_000, START_MS
        for source in SOURCES:
            late_ms = [20_000 if source == ONE and number in (4, 5) else 5 for number in range(1, 11)]
            assert record.read is not None
            times_ms = [START_MS + number * 1000 + late_ms[number - 1] for number in range(1, 11)]
            record.read[source].applied_at_ms = packed_times(times_ms)
    pieces = [(4_000, 1_000.0), (5_000, 1_000.0), (6_000, 18_000.0)]
    history.stalls = [Stall("parm-1", START_MS + at_ms, duration_ms) for at_ms, duration_ms in pieces]
    history.incidents = incidents([], history.stalls)
    return history


def test_a_stage_that_is_stopped() -> None:
    """The process that stood still, from when, for how long, and how late what waited for it came."""
    late = "applied by gateway 20.0 s after it was sent, deadline 10.0 s"
    assert first_lines(held_up(run(healthy())), 8) == [
        "INVALID  lab: 2 of 30 events later than the deadline allows, at parm",
        "",
        "2 of 30 events later than the deadline allows",
        "  where   at parm: parm-1 stood still for 20.0 s, from 22:13:24.000",
        "  when    sent 22:13:24.000 to 22:13:25.000 UTC",
        f"  next    storefleet trace {ONE}.4 --run {FOLDER}",
        f"  {ONE}.4   held up at parm; {late}",
        f"  {ONE}.5   held up at parm; {late}",
    ]


def test_an_event_that_nobody_sent() -> None:
    """It comes in behind the last stage that has not seen it; nobody knows since when, if no terminal sent it."""
    history = run(healthy())
    for name in ("gateway", "orders", "sales"):
        read = view(history, name).read
        assert read is not None
        read[ONE] = read_of(ONE, IntervalSet([(1, 11)]))
    for name in ("sync_stage", "gateway", "poseidon", "views"):
        for sets in (stage(history, name).taken, stage(history, name).handed_on):
            sets[ONE].add(11)
    assert first_lines(history, 6) == [
        "INVALID  lab: 1 event present, although never sent, or although rejected, between parm and sync_stage",
        "",
        "1 event present, although never sent, or although rejected",
        "  where   between parm and sync_stage",
        f"  next    storefleet trace {ONE}.11 --run {FOLDER}",
        f"  {ONE}.11   not seen at parm, first seen at sync_stage",
    ]


def test_two_places_take_turns_and_a_fault_is_named() -> None:
    """One line a place, the many first; the keys of both; what was in force on one of them."""
    history = run(healthy())
    cut = FaultAccount(
        name="cut", type="partition", hop="sync-gateway", of="region west", begin_ms=START_MS + 3_000,
        end_ms=START_MS + 9_000,
    )  # fmt: skip
    history.faults = [cut]
    history.incidents = incidents(history.faults, [])
    for number in (4, 5):
        lose(history, ONE, number, after="sync_stage", handed_on=True)
    lose(history, TWO, 2, after="parm", handed_on=False)
    assert first_lines(history) == [
        "INVALID  lab: 3 of 30 events missing, although acknowledged as applied, on hop sync-gateway",
        "",
        "3 of 30 events missing, although acknowledged as applied",
        "  where   2 on hop sync-gateway: partition of region west on sync-gateway for 6.0 s, from 22:13:23.000",
        "          1 at parm",
        "  when    sent 22:13:22.000 to 22:13:25.000 UTC",
        f"  next    storefleet trace {ONE}.4 --run {FOLDER}",
        f"  {ONE}.4   last seen sync_stage, first missing gateway",
        f"  {TWO}.2   last seen parm, first missing broker",
        f"  {ONE}.5   last seen sync_stage, first missing gateway",
    ]
    assert f"Fault at 22:13:23.000: {describe(cut)}." in plain_text(check(history))


def test_a_run_with_faults_says_when_none_was_in_force() -> None:
    """So that nobody looks for the reason there; a run without faults does not speak of them at all."""
    history = run(healthy())
    lose(history, ONE, 4, after="sync_stage", handed_on=True)
    report = plain_text(check(history))
    assert "fault" not in report
    assert "How long each view took to agree at the end" in report
    history.faults = [FaultAccount(name="a", type="down", hop="x", of="everything", begin_ms=1, end_ms=2)]
    report = plain_text(check(history))
    assert "  during  no fault was in force" in report
    assert "How long each view took to agree after the faults were lifted" in report


def dearer(history: History) -> History:
    """The sync stage found three events another time, with another content."""
    history.letters = Letters(
        heard=[
            Letter(
                at_ms=START_MS + 5_000 + number, stage="sync_stage", reason="key_conflict", source=ONE,
                sequence=3 + number, detail="other content",
            )
            for number in range(3)
        ]
    )  # fmt: skip
    return history


def test_dead_letters_are_filed_by_one_and_may_be_anothers() -> None:
    """The user's own stage on the way is the suspect, not whoever found them."""
    assert first_lines(dearer(run(foreign(healthy(), "parm"))), 7) == [
        "INVALID  lab: 3 dead letters under the terminals' names that nothing explains, suspect: parm (yours)",
        "",
        "3 dead letters under the terminals' names that nothing explains",
        "  where   filed by sync_stage: key_conflict; suspect: parm (yours)",
        "  when    heard 22:13:25.000 to 22:13:25.002 UTC",
        f"  next    storefleet trace {ONE}.3 --run {FOLDER}",
        f"  {ONE}.3   dead letter of sync_stage, key_conflict: other content",
    ]


@pytest.mark.parametrize(
    ("letter", "name", "by_hand"),
    [
        ({"topic": RAW}, RAW, True),
        ({"topic": RAW, "sequence": 11}, f"{ONE}.11", True),
        ({"topic": RAW, "sequence": 3}, f"{ONE}.3", False),
        ({"topic": RAW.replace("transaction", "state")}, RAW.replace("transaction", "state"), False),
        ({"topic": f"lab/canonical/transaction/taco/west/s0001/{ONE}", "sequence": 11}, f"{ONE}.11", False),
    ],
)
def test_an_event_that_no_terminal_has_sent_was_sent_by_hand(letter: dict[str, Any], name: str, by_hand: bool) -> None:
    """By the ledger: a terminal's events have their keys. Of what a terminal sent, or a stage, that is not said."""
    history = run(healthy())
    said = "user property 'source' is missing"
    history.letters = Letters(
        heard=[Letter(at_ms=START_MS + 5_000, stage="parm", reason="no_key", source=ONE, detail=said, **letter)]
    )
    verdict = check(history)
    told = " ".join(line.strip() for line in plain_text(verdict, "lab").splitlines())
    words = "; its terminal has sent no such event: it was sent by hand, or by a client of yours"
    assert f"{name} dead letter of parm, no_key: {said}{words if by_hand else ' '}" in " ".join(told.split()) + " "
    assert [one.by_hand for one in verdict.letters] == [by_hand]


@pytest.mark.parametrize(("source", "guest"), [("taco.west.s0901.r01", True), (ONE, False)])
def test_an_event_of_a_guest_is_named_as_such(source: str, guest: bool) -> None:
    """Nobody looks for it in the ledger of a terminal that there is not."""
    history = run(healthy())
    for name in ("gateway", "orders", "sales"):
        read = view(history, name).read
        assert read is not None
        content = read_of(ONE, IntervalSet([(11, 11)]))
        read[source] = content if guest else read_of(ONE, IntervalSet([(1, 11)]))
    for name in ("parm", "sync_stage", "gateway", "poseidon", "views"):
        for sets in (stage(history, name).taken, stage(history, name).handed_on):
            sets.setdefault(source, IntervalSet()).add(11)
    text = " ".join(plain_text(check(history), "lab").split())
    assert f"{source}.11 not seen at " in text
    assert ("; a guest's: no terminal of this fleet has that name" in text) == guest


def spoiled_register(history: History) -> None:
    board = view(history, "store_board")
    board.registers_found = {**board.registers_expected, "taco.west.s0001": "OFFLINE"}


def spoiled_total(history: History) -> None:
    view(history, "sales").totals_found = {
        ("taco.west.s0001", "2025-03-01"): (20, 2_001), ("bagel.east.s0002", "2025-03-01"): (10, 1_000),
    }  # fmt: skip


def late_view(history: History) -> None:
    sales = view(history, "sales")
    sales.converged_at_ms = (sales.healed_at_ms or 0) + 12_000


def doubled(history: History) -> None:
    read = view(history, "orders").read
    assert read is not None
    read[ONE].repeated = [(4, 2)]


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (
            spoiled_register,
            [
                "INVALID  lab: 1 register of store_board not as the terminals are, at views",
                "1 register of store_board not as the terminals are",
                "  where   store_board",
                "  when    read 22:14:00.000 UTC",
                f"  next    storefleet log {FOLDER}",
                "  taco.west.s0001   expected OPEN, found OFFLINE",
            ],
        ),
        (
            spoiled_total,
            [
                "INVALID  lab: 1 total of sales off, at views",
                "1 total of sales off",
                "  where   sales",
                "  when    read 22:14:00.000 UTC",
                f"  next    storefleet log {FOLDER}",
                "  taco.west.s0001 2025-03-01   expected 20 for 2000 cents, found 20 for 2001 cents",
            ],
        ),
        (
            late_view,
            [
                "INVALID  lab: view sales took 12.0 s to agree; its deadline is 10.0 s, at views",
                "view sales took 12.0 s to agree; its deadline is 10.0 s",
                "  where   sales",
                "  when    waited for 22:13:40.000 to 22:13:52.000 UTC",
                f"  next    storefleet log {FOLDER}",
            ],
        ),
        (
            doubled,
            [
                "INVALID  lab: 1 of 30 events shown more than once, at poseidon",
                "1 of 30 events shown more than once",
                "  where   at poseidon",
                "  when    sent 22:13:24.000 UTC",
                f"  next    storefleet trace {ONE}.4 --run {FOLDER}",
                f"  {ONE}.4   content {content(ONE, 4).hex()}, 2 times; in orders",
            ],
        ),
    ],
)
def test_what_views_show(spoil: Callable[[History], None], expected: list[str]) -> None:
    """Registers, totals and times have their view for a place, and the reading for a time."""
    history = run(healthy())
    spoil(history)
    lines = first_lines(history, 8)
    assert [line for line in lines if line][: len(expected)] == expected


def test_restarts_are_told_with_their_reasons() -> None:
    """By process, how often, and how it ended last."""
    history = run(healthy())
    history.restarts = {"parm-1": ["signal SIGKILL"] * 3, "views-1": ["exit status 1"]}
    assert first_lines(history, 6) == [
        "VALID, with 4 restarts  lab: everything that was sent arrived as it should",
        "",
        "4 restarts: a process ended that nobody had asked to",
        "  where   3 parm-1: signal SIGKILL",
        "          1 views-1: exit status 1",
        f"  next    storefleet log {FOLDER}",
    ]


def test_what_is_not_known() -> None:
    """Nothing is accused: no failure is proven, and what would make it known is said."""
    history = run(healthy())
    view(history, "sales").read = None
    lines = first_lines(history, 3)
    assert lines[0] == "UNKNOWN  lab: no failure proven, evidence incomplete"
    assert (
        lines[2] == "not known: a view was not read at the end (sales); to know it: a run that reaches its final reads"
    )


def test_the_whole_span_on_request() -> None:
    """Every hop and stage between the ends, once a place."""
    history = run(foreign(healthy(), "parm"))
    never_answered(history, range(4, 6), after="broker-raw")
    verdict = check(history)
    whole = " > ".join(verdict.places[0].places)
    assert whole not in plain_text(verdict)
    assert plain_text(verdict, spans=True).count(whole) == 1


def test_a_command_is_never_broken() -> None:
    """However long the folder's name; one with a space is quoted."""
    history = run(healthy())
    history.run = replace_folder(history.run, f"runs/{'x' * 150} y")
    lose(history, ONE, 4, after="sync_stage", handed_on=True)
    line = next(line for line in plain_text(check(history)).splitlines() if line.startswith("  next"))
    assert line == f"  next    storefleet trace {ONE}.4 --run 'runs/{'x' * 150} y'"


def replace_folder(account: RunAccount, folder: str) -> RunAccount:
    """The same run in another folder."""
    return msgspec.structs.replace(account, folder=folder)


def stood_still(stage: str, from_ms: int, until_ms: int, words: str) -> Incident:
    """Since the run began."""
    return Incident(stage, START_MS + from_ms, START_MS + until_ms, words, "standstill")


def test_incidents_are_in_order_and_pieces_of_one_standstill_are_one() -> None:
    """A fault that was not lifted has no end; the machine's own standstills are told elsewhere."""
    fault = FaultAccount(name="a", type="down", hop="parm-broker", of="everything", begin_ms=START_MS + 7_000)
    stalls = [
        Stall("parm-1", START_MS + 9_000, 600.0),
        Stall("parm-1", START_MS + 5_000, 1_000.0),
        Stall("parm-1", START_MS + 6_100, 500.0),
        Stall("lab", START_MS, 900.0),
        Stall("broker-1", START_MS + 5_500, 700.0),
    ]
    assert incidents([fault], stalls) == [
        stood_still("parm", 5_000, 6_600, "parm-1 stood still for 1.6 s, from 22:13:25.000"),
        stood_still("broker", 5_500, 6_200, "broker-1 stood still for 0.7 s, from 22:13:25.500"),
        Incident(
            "parm-broker", START_MS + 7_000, FOREVER_MS,
            "down of everything on parm-broker, not lifted, from 22:13:27.000", "fault",
        ),
        stood_still("parm", 9_000, 9_600, "parm-1 stood still for 0.6 s, from 22:13:29.000"),
    ]  # fmt: skip


def test_what_the_log_tells_is_an_incident_until_it_is_over() -> None:
    """An end until the process runs again, a trouble until the same one is over; of two at once each has its own end."""
    happenings = [
        Happening(at_ms=START_MS + 1_000, kind="start", who="parm-1"),
        Happening(at_ms=START_MS + 2_000, kind="end", who="parm-1", text="signal SIGKILL"),
        Happening(at_ms=START_MS + 2_200, kind="restart", who="parm-1", text="after signal SIGKILL"),
        Happening(
            at_ms=START_MS + 3_000, kind="trouble_on", who="gateway-1", text="disk full: database or disk is full"
        ),
        Happening(at_ms=START_MS + 3_500, kind="trouble_on", who="gateway-1", text="not connected: feed"),
        Happening(at_ms=START_MS + 5_000, kind="trouble_off", who="gateway-1", text="disk full; it lasted 2.0 s"),
        Happening(at_ms=START_MS + 6_000, kind="heard_in_part", who="lab", text="a gap of 2 s"),
    ]
    assert incidents([], [], happenings) == [
        Incident(
            "parm", START_MS + 2_000, START_MS + 2_200, "parm-1 ended unasked at 22:13:22.000: signal SIGKILL", "end"
        ),
        Incident(
            "gateway", START_MS + 3_000, START_MS + 5_000,
            "gateway-1: disk full: database or disk is full, at 22:13:23.000 to 22:13:25.000", "trouble",
        ),
        Incident(
            "gateway", START_MS + 3_500, FOREVER_MS,
            "gateway-1: not connected: feed, at 22:13:23.500, to the end", "trouble",
        ),
        Incident(
            "lab", START_MS + 6_000, START_MS + 6_000, "lab: messages are missing: a gap of 2 s, at 22:13:26.000", "trouble"
        ),
    ]  # fmt: skip


def test_a_trouble_is_named_where_it_may_be_the_reason() -> None:
    """Beside what was late or lost at that stage, and among what the report says of the run."""
    history = run(healthy())
    happenings = [Happening(at_ms=START_MS + 3_000, kind="trouble_on", who="gateway-1", text="disk full: no room")]
    history.incidents = incidents([], [], happenings)
    lose(history, ONE, 4, after="sync_stage", handed_on=True)
    words = "gateway-1: disk full: no room, at 22:13:23.000, to the end"
    verdict = check(history)
    assert verdict.troubles == [words]
    assert f"  during  {words}" in plain_text(verdict)
    assert f"Trouble: {words}." in plain_text(verdict)


def test_an_exceeded_budget_has_what_it_counts() -> None:
    """Which process, when, and what shows more."""
    history = run(healthy())
    history.restarts, history.allow = {"parm-1": ["signal SIGKILL"] * 2}, {"restarts": 1, "resent": 0}
    history.incidents = incidents([], [], [Happening(at_ms=START_MS + 2_000, kind="end", who="parm-1", text="x")])
    assert first_lines(history, 6) == [
        "INVALID  lab: 2 restarts, allowed 1",
        "",
        "2 restarts, allowed 1",
        "  where   parm-1: signal SIGKILL",
        "  when    ended 22:13:22.000 UTC",
        f"  next    storefleet log {FOLDER}",
    ]


def test_every_finding_is_in_the_values_too() -> None:
    """What is printed is made from what verdict.json has, and nothing else."""
    verdict = check(dearer(held_up(run(healthy()))))
    again = msgspec.json.decode(msgspec.json.encode(verdict), type=Verdict)
    assert plain_text(again, "lab") == plain_text(verdict, "lab")
    assert [finding.code for finding in again.findings] == ["stale", "dead_letters"]
    assert all(isinstance(finding, Finding) and finding.next_command for finding in again.findings)
