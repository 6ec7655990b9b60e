"""The verdict on hand-written histories: every class, every reason, and who is to blame."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetwire.intervals import IntervalSet
from fleetwire.packed_times import packed_times
from fleetwire.witness import ViewRead
from storefleet.verdict.check import check
from storefleet.verdict.classify import CLASSES
from storefleet.verdict.history import History, Reading, Register
from storefleet.verdict.journey import JOURNEY, VIEWS, views_of, without
from storefleet.verdict.letter_file import Letters
from storefleet.verdict.machine import Stall
from storefleet.verdict.result import (
    INVALID_REASONS,
    UNKNOWN_REASONS,
    BrokerAccount,
    Verdict,
    unknown,
    validity,
    worst,
)
from storefleet.verdict.table import plain_text
from tests.verdict.world import (
    SOURCES,
    START_MS,
    content,
    forget,
    healthy,
    lose,
    read_of,
    remove,
    stage,
    view,
)

ONE, TWO, _ = SOURCES
ALL = IntervalSet([(1, 10)])


def codes(verdict: Verdict) -> tuple[list[str], list[str]]:
    """Codes of what is wrong, and of what is not known."""
    return [entry.code for entry in verdict.invalid], [entry.code for entry in verdict.unknown]


def only(verdict: Verdict, name: str, count: int = 1) -> None:
    """Exactly so many events are of that class, all others ok, and the counts add up."""
    assert {key: value for key, value in verdict.counts.items() if value and key != "ok"} == {name: count}
    assert sum(verdict.counts.values()) == verdict.sent + verdict.invented


def places(verdict: Verdict, what: str) -> list[list[str]]:
    """The addresses under which something is accounted."""
    return [account.places for account in verdict.places if account.what == what]


def test_healthy_run_is_valid() -> None:
    """A run in which everything arrived is valid, with every event ok and every view's time."""
    verdict = check(healthy())
    assert codes(verdict) == ([], [])
    assert (verdict.validity, verdict.exit_status, verdict.counts["ok"], verdict.sent) == ("valid", 0, 30, 30)
    assert [account.healed_to_converged_ms for account in verdict.views] == [2000] * 7


LOSSES = [
    ("emulator", True, "broker parm-broker"),
    ("emulator", False, "emulator terminals-broker broker parm-broker"),
    ("parm", False, "parm"),
    ("parm", True, "broker sync-broker"),
    ("sync_stage", False, "sync_stage"),
    ("sync_stage", True, "sync-gateway"),
]


@pytest.mark.parametrize(("after", "handed_on", "expected"), LOSSES)
def test_a_loss_names_its_hop(after: str, handed_on: bool, expected: str) -> None:
    """An event that vanishes behind a step is lost, once, and blamed on the places behind the last evidence."""
    history = healthy()
    lose(history, ONE, 4, after=after, handed_on=handed_on)
    verdict = check(history)
    only(verdict, "lost")
    assert places(verdict, "lost") == [expected.split()]
    assert verdict.validity == "invalid"
    assert verdict.classes["lost"].examples[0].name == f"{ONE}.4"


def test_a_deleted_document_is_the_gateways_even_if_a_reader_had_it() -> None:
    """A store that lacks at the end what it took has lost it, although Poseidon got it in time."""
    history = healthy()
    forget(history, "gateway", ONE, 4)
    forget(history, "sales", ONE, 4)
    remove(stage(history, "views").taken, ONE, 4)
    verdict = check(history)
    only(verdict, "lost")
    assert places(verdict, "lost") == [["gateway"]]


def test_poseidon_skipping_a_sequence_is_blamed_behind_the_gateway() -> None:
    """What the gateway still has and Poseidon never took was lost on Poseidon's way there."""
    history = healthy()
    remove(stage(history, "poseidon").taken, ONE, 4)
    remove(stage(history, "poseidon").handed_on, ONE, 4)
    forget(history, "orders", ONE, 4)
    verdict = check(history)
    only(verdict, "lost")
    assert places(verdict, "lost") == [["poseidon-gateway"]]


def test_a_view_that_forgets_a_store_is_to_blame_itself() -> None:
    """What the views' stage took and one view lacks was lost inside that stage."""
    history = healthy()
    sales = view(history, "sales")
    assert sales.read is not None
    del sales.read[ONE]
    verdict = check(history)
    only(verdict, "lost", 10)
    assert places(verdict, "lost") == [["views"]]


def test_a_foreign_stage_widens_the_span_but_not_the_verdict() -> None:
    """A stage without a witness is never dead nor unknown; a loss beside it is blamed on the whole span."""
    steps = tuple(replace_step(step.step == "parm", step) for step in JOURNEY)
    history = healthy(steps=steps)
    stage(history, "parm").alive_at_end = False
    assert check(history).validity == "valid"
    lose(history, ONE, 4, after="parm", handed_on=True)
    verdict = check(history)
    only(verdict, "lost")
    assert places(verdict, "lost") == [["broker", "parm-broker", "parm", "parm-broker", "broker", "sync-broker"]]


def replace_step(foreign: bool, step):  # type: ignore[no-untyped-def]
    """The step, somebody else's where asked for."""
    import msgspec

    return msgspec.structs.replace(step, foreign=foreign)


def test_a_restart_without_last_snapshot_widens_the_span_only_for_what_was_before() -> None:
    """What was committed before a stage died untold is undecided there; what came later is decided."""
    history = healthy()
    stage(history, "sync_stage").undecided_until_ms = START_MS + 4_500
    lose(history, ONE, 4, after="parm", handed_on=True)
    lose(history, TWO, 6, after="parm", handed_on=True)
    verdict = check(history)
    assert sorted(places(verdict, "lost")) == [
        ["broker", "sync-broker"],
        ["broker", "sync-broker", "sync_stage", "sync-gateway"],
    ]


def test_absent_stages_are_neither_lost_nor_unknown() -> None:
    """Without Poseidon and the views, the gateway's final read alone makes a valid verdict."""
    steps = tuple(without(JOURNEY, {"poseidon", "views"}))
    history = healthy(steps=steps, views=tuple(views_of(VIEWS, steps)))
    assert [record.view for record in history.views] == ["gateway", "olympus_dgs"]
    assert check(history).validity == "valid"


def test_leaving_out_a_stage_leaves_out_everything_behind_it() -> None:
    """Without the gateway there is no Poseidon and no view of its events."""
    assert [step.step for step in without(JOURNEY, {"gateway"})][-1] == "sync_stage"


def test_never_read_recovered_and_unresolved() -> None:
    """Without an outcome, what is absent is never_read (unknown) and what is there is recovered (fine)."""
    history = healthy()
    assert history.ledger is not None
    history.ledger.source(ONE).applied = IntervalSet([(1, 8), (10, 10)])
    verdict = check(history)
    only(verdict, "recovered")
    assert verdict.validity == "valid"
    lose(history, ONE, 9, after="emulator", handed_on=True)
    verdict = check(history)
    only(verdict, "never_read")
    assert codes(verdict) == ([], ["unresolved"])
    assert verdict.exit_status == 3
    assert places(verdict, "never_read") == [["broker", "parm-broker"]]
    history.drains = False
    assert check(history).validity == "valid"
    history.aborted = True
    assert codes(check(history)) == ([], ["aborted"])


def test_an_abort_without_time_to_recover_proves_no_loss() -> None:
    """What is applied by word and absent in a view that an abort left no time is not lost, but unknown."""
    history = healthy()
    forget(history, "sales", ONE, 4)
    history.aborted = True
    sales = view(history, "sales")
    sales.converged_at_ms, sales.read_at_ms = None, START_MS + 21_000
    verdict = check(history)
    only(verdict, "never_read")
    assert codes(verdict) == ([], ["aborted"])


def test_duplicate_is_the_stages_that_shows_it() -> None:
    """An effect that a view holds twice is duplicated, whatever the hops repeated."""
    history = healthy()
    sales = view(history, "sales")
    assert sales.read is not None
    sales.read[ONE].repeated = [(4, 2)]
    verdict = check(history)
    only(verdict, "duplicated")
    assert places(verdict, "duplicated") == [["views"]]
    assert codes(verdict)[0] == ["duplicated"]
    assert verdict.classes["duplicated"].examples[0].found.endswith("2 times")


def test_alteration_is_found_by_value_with_its_span() -> None:
    """Another content than the ledger's is corrupted; stores that hold the right one narrow the span."""
    history = healthy()
    sales = view(history, "sales")
    assert sales.read is not None
    sales.read[ONE] = read_of(ONE, ALL, {4: 1})
    verdict = check(history)
    only(verdict, "corrupted")
    assert places(verdict, "corrupted") == [["views-gateway", "views"]]
    example = verdict.classes["corrupted"].examples[0]
    assert (example.expected, example.found) == (
        f"content {content(ONE, 4).hex()}",
        f"content {content(ONE, 4, 1).hex()}",
    )
    for name in ("gateway", "orders"):
        record = view(history, name)
        assert record.read is not None
        record.read[ONE] = read_of(ONE, ALL, {4: 1})
    verdict = check(history)
    only(verdict, "corrupted")
    assert places(verdict, "corrupted")[0][0] == "emulator"
    assert places(verdict, "corrupted")[0][-1] == "gateway"


def test_phantom_is_blamed_where_it_came_in() -> None:
    """An event that no terminal sent is unexpected, counted beside the sent ones, and has an address."""
    history = healthy()
    for step in ("sync_stage", "gateway", "poseidon", "views"):
        stage(history, step).taken[ONE].add(99)
    for name in ("gateway", "orders", "sales"):
        record = view(history, name)
        assert record.read is not None
        record.read[ONE] = read_of(ONE, IntervalSet([(1, 10), (99, 99)]))
    verdict = check(history)
    only(verdict, "unexpected")
    assert (verdict.invented, verdict.sent) == (1, 30)
    assert places(verdict, "unexpected") == [["parm-broker", "broker", "sync-broker"]]


def test_phantom_of_an_unknown_terminal() -> None:
    """Events of a source that the ledger does not know at all are unexpected, too."""
    history = healthy()
    sales = view(history, "sales")
    assert sales.read is not None
    sales.read["ghost.west.s0009.r01"] = ViewRead(intervals=[(1, 3)], hashes=bytes(24))
    verdict = check(history)
    only(verdict, "unexpected", 3)
    assert places(verdict, "unexpected") == [["views"]]


def reject(history: History, source: str, sequence: int, reason: str, *, expected: str) -> None:
    """PARM rejected an event; nothing behind it saw it."""
    assert history.ledger is not None
    entries = history.ledger.source(source)
    entries.applied = entries.applied.difference(IntervalSet([(sequence, sequence)]))
    entries.rejected[sequence] = ("parm", reason)
    if expected:
        entries.malformed[sequence] = expected
    lose(history, source, sequence, after="parm", handed_on=False)


def test_expected_rejection_is_fine_and_counted_by_reason() -> None:
    """A malformed event that was rejected for the reason it deserves does not harm the verdict."""
    history = healthy()
    reject(history, ONE, 4, "totals", expected="totals")
    verdict = check(history)
    only(verdict, "rejected")
    assert verdict.validity == "valid"
    assert verdict.rejected_by_reason == {"totals": 1}


@pytest.mark.parametrize("expected", ["", "schema"])
def test_unexpected_rejection_is_invalid(expected: str) -> None:
    """A well-formed event rejected, or a malformed one for another reason, makes the verdict invalid."""
    history = healthy()
    reject(history, ONE, 4, "totals", expected=expected)
    verdict = check(history)
    only(verdict, "rejected")
    assert codes(verdict) == (["rejected"], [])
    history.allowed_rejections = frozenset({"totals"})
    assert check(history).validity == ("invalid" if expected else "valid")


def test_rejected_or_malformed_but_present_is_unexpected() -> None:
    """A view must hold neither what was rejected nor what should have been."""
    history = healthy()
    assert history.ledger is not None
    history.ledger.source(ONE).rejected[4] = ("parm", "totals")
    history.ledger.source(TWO).malformed[5] = "schema"
    verdict = check(history)
    only(verdict, "unexpected", 2)


def test_planted_conflict_and_repeat_explain_themselves() -> None:
    """The dead letter of a planted conflict and the absorbed repeats are no harm."""
    history = healthy()
    assert history.ledger is not None
    entries = history.ledger.source(ONE)
    entries.conflicts.add(4)
    entries.rejected[4] = ("sync_stage", "key_conflict")
    entries.repeats.add(5)
    stage(history, "parm").duplicates_absorbed = 1
    verdict = check(history)
    assert (verdict.validity, verdict.counts["ok"]) == ("valid", 30)
    assert (verdict.conflicts_planted, verdict.repeats_planted) == (1, 1)
    assert verdict.duplicates_absorbed == {"parm": 1}


def late_history() -> History:
    """Terminal one's event 4 reached the gateway and the views' stage 15 s after healing; PARM had it at once."""
    history = healthy()
    at = START_MS + 33_000
    for step in ("parm", "sync_stage", "gateway", "views"):
        seen = [(1, 10)] if step == "parm" else [(1, 3), (5, 10)]
        stage(history, step).timeline = [Reading(at, {ONE: seen}, {ONE: seen})]
    view(history, "sales").timeline = stage(history, "views").timeline
    return history


def test_delay_is_stale_with_its_hop() -> None:
    """What a reading proves absent later than the deadline after healing is stale, blamed by the stages' readings."""
    verdict = check(late_history())
    only(verdict, "stale")
    assert codes(verdict) == (["stale"], [])
    assert places(verdict, "stale") == [["broker", "sync-broker"]]


def test_delay_within_the_deadline_is_fine() -> None:
    """A reading that misses an event before the deadline proves nothing."""
    history = late_history()
    view(history, "sales").deadline_s = 14.0
    assert check(history).validity == "valid"


def test_delay_of_a_stalled_machine_is_unknown() -> None:
    """Lateness that the machine's own standstill covers is not blamed on the pipeline."""
    history = late_history()
    history.stalls = [Stall("lab", START_MS + 25_000, 4_000.0)]
    assert codes(check(history)) == ([], ["machine_stalled"])
    history.stalls = [Stall("lab", START_MS + 25_000, 2_000.0)]
    assert codes(check(history)) == (["stale"], [])


def test_missed_deadline_and_standstill() -> None:
    """A late view is invalid; unknown with figures if the machine stood still; its stalls count once."""
    history = healthy()
    sales = view(history, "sales")
    sales.converged_at_ms = START_MS + 33_000
    assert codes(check(history)) == (["late"], [])
    history.stalls = [Stall(name, START_MS + 22_000, 2_000.0) for name in ("views", "gateway")]
    assert codes(check(history)) == (["late"], [])
    history.stalls.append(Stall("lab", START_MS + 26_000, 1_000.0))
    verdict = check(history)
    assert codes(verdict) == ([], ["machine_stalled"])
    assert "3,000 ms" in verdict.unknown[0].detail


def test_one_process_that_stands_still_excuses_nothing() -> None:
    """However long a single process did not run, what came late is late."""
    history = healthy()
    view(history, "sales").converged_at_ms = START_MS + 33_000
    history.stalls = [Stall("views", START_MS + 20_000, 13_000.0)]
    assert codes(check(history)) == (["late"], [])


@pytest.mark.parametrize(
    ("read_after_ms", "changed_after_ms", "aborted", "expected"),
    [
        (40_000, 0, False, (["registers_differ"], [])),
        (30_000, 0, False, (["registers_differ"], [])),
        (29_999, 0, False, ([], ["read_too_soon"])),
        (29_999, 0, True, ([], ["aborted"])),
        (40_000, 30_001, False, ([], ["read_too_soon"])),
        (40_000, 30_000, False, (["registers_differ"], [])),
    ],
)
def test_registers_have_their_deadline(
    read_after_ms: int, changed_after_ms: int, aborted: bool, expected: tuple[list[str], list[str]]
) -> None:
    """A register is wrong only a whole deadline after healing and after its terminal's last change; unknown before."""
    history = healthy()
    history.aborted = aborted
    board = view(history, "store_board")
    board.converged_at_ms = None
    board.registers_found = {**board.registers_expected, "taco.west.s0001": "OFFLINE"}
    board.read_at_ms = START_MS + read_after_ms
    assert history.ledger is not None
    history.ledger.registers = {
        ONE: Register(online=True, reason="birth", boot=1, bd_seq=1, at_ms=START_MS + changed_after_ms),
        SOURCES[2]: Register(online=True, reason="birth", boot=1, bd_seq=1, at_ms=START_MS + 39_999),
    }
    assert codes(check(history)) == expected


@pytest.mark.parametrize(("begun_after_ms", "code"), [(30_000, "registers_differ"), (30_001, "read_too_soon")])
def test_registers_of_a_view_that_was_rebuilt_have_their_deadline_again(begun_after_ms: int, code: str) -> None:
    """What it has not read yet it cannot show."""
    history = healthy()
    board = view(history, "store_board")
    board.begun_at_ms, board.converged_at_ms, board.registers_found = START_MS + begun_after_ms, None, {}
    invalid, unknown_ = codes(check(history))
    assert invalid + unknown_ == [code]


@pytest.mark.parametrize(("closed_after_ms", "code"), [(14_000, "unresolved"), (14_001, "no_outcome")])
def test_a_terminal_that_closes_excuses_what_had_less_than_its_deadline(closed_after_ms: int, code: str) -> None:
    """The event of the fourth second was swallowed; whoever closes its till ten seconds later hides nothing."""
    history = healthy()
    lose(history, ONE, 4, after="emulator", handed_on=True)
    assert history.ledger is not None
    history.ledger.source(ONE).applied = IntervalSet([(1, 3), (5, 10)])
    history.ledger.registers[ONE] = Register(False, "planned_close", 1, 1, START_MS + closed_after_ms)
    history.told_until_ms = START_MS + 40_000
    for record in history.views:
        record.calm_since_ms = START_MS
    invalid, unknown_ = codes(check(history))
    assert invalid + unknown_ == [code]


@pytest.mark.parametrize(
    ("stalls", "unheard", "expected"),
    [
        ([], {"emulator"}, ([], ["registers_unknown"])),
        ([], {"parm"}, (["registers_differ"], [])),
        ([Stall("emulator-1", START_MS + 25_000, 15_000.0)], set(), ([], ["registers_unknown"])),
        (
            [Stall("emulator-1", START_MS + at_ms, 1e3) for at_ms in (35_000, 36_000)],
            set(),
            ([], ["registers_unknown"]),
        ),
        ([Stall("emulator-1", START_MS + 20_000, 10_000.0)], set(), (["registers_differ"], [])),
        ([Stall("emulator-1", START_MS + 20_000, 10_001.0)], set(), ([], ["registers_unknown"])),
        ([Stall("emulator-1", START_MS + 39_000, 999.0)], set(), (["registers_differ"], [])),
        ([Stall("emulator-1", START_MS + 40_001, 5_000.0)], set(), (["registers_differ"], [])),
        ([Stall("views-1", START_MS + 25_000, 15_000.0)], set(), (["registers_differ"], [])),
    ],
)
def test_the_ledger_is_no_truth_about_registers_while_its_writer_stands_still(
    stalls: list[Stall], unheard: set[str], expected: tuple[list[str], list[str]]
) -> None:
    """The broker publishes the wills of terminals whose emulator is stopped, and the ledger goes on calling them online."""
    history = healthy()
    history.stalls, history.unheard_stages = stalls, frozenset(unheard)
    board = view(history, "store_board")
    board.converged_at_ms = None
    board.registers_found = {**board.registers_expected, "taco.west.s0001": "OFFLINE"}
    verdict = check(history)
    assert codes(verdict) == expected
    assert all("emulator" in reason.detail for reason in verdict.unknown)


def test_outcomes_alone_are_no_proof_of_arrival() -> None:
    """With no view of events read nothing is ok: what was applied by word is unread, the counts add up, unknown."""
    history = healthy()
    assert history.ledger is not None
    history.ledger.source(TWO).applied = IntervalSet([(1, 8)])
    for record in history.views:
        record.read = None
    verdict = check(history)
    assert {name: count for name, count in verdict.counts.items() if count} == {"unread": 28, "never_read": 2}
    assert sum(verdict.counts.values()) == verdict.sent
    assert verdict.validity == "unknown"
    assert "28" in plain_text(verdict, "run")
    history.ledger.source(TWO).applied = ALL
    assert check(history).counts["unread"] == 30


def test_loss_is_not_excused_by_a_standstill() -> None:
    """However long the machine stood still, lost is lost."""
    history = healthy()
    history.stalls = [Stall("lab", START_MS, 100_000.0)]
    lose(history, ONE, 4, after="parm", handed_on=False)
    assert codes(check(history))[0] == ["lost"]


@pytest.mark.parametrize("store", ["ghost.west.s9999", "taco.west.s0001"])
def test_a_total_of_a_day_without_sales(store: str) -> None:
    """It is a difference, though it is zero: nobody sold anything there."""
    history = healthy()
    sales = view(history, "sales")
    right = {("taco.west.s0001", "2025-03-01"): (20, 2000), ("bagel.east.s0002", "2025-03-01"): (10, 1000)}
    sales.counted_types = ["transaction.retail"]
    sales.totals_found = dict(right)
    assert codes(check(history)) == ([], [])
    sales.totals_found = {**right, (store, "1999-01-01"): (0, 0)}
    verdict = check(history)
    assert codes(verdict) == (["totals_differ"], [])
    (example,) = (one for view in verdict.views for one in view.differences)
    assert (example.name, example.expected, example.found) == (f"{store} 1999-01-01", "absent", "0 for 0 cents")


def test_registers_and_totals_by_value() -> None:
    """A register or a total that differs is named with what was expected and found."""
    history = healthy()
    board, sales = view(history, "store_board"), view(history, "sales")
    assert board.registers_found is not None
    board.registers_found["taco.west.s0001"] = "OFFLINE"
    sales.totals_found = {("taco.west.s0001", "2025-03-01"): (20, 2000), ("bagel.east.s0002", "2025-03-01"): (10, 999)}
    verdict = check(history)
    assert sorted(codes(verdict)[0]) == ["registers_differ", "totals_differ"]
    account = {account.view: account for account in verdict.views}
    assert [(d.name, d.expected, d.found) for d in account["sales"].differences] == [
        ("bagel.east.s0002 2025-03-01", "10 for 1000 cents", "10 for 999 cents")
    ]
    assert account["store_board"].differences[0].found == "OFFLINE"


def test_healed_losses_have_an_address() -> None:
    """A stage that took an event first on a retry proves a loss before it; without one the retry was needless."""
    history = healthy()
    assert history.ledger is not None
    history.ledger.source(ONE).attempts = {4: 2, 5: 2}
    for step in ("sync_stage", "gateway"):
        stage(history, step).first_taken_on_retry[ONE] = IntervalSet([(4, 4)])
    verdict = check(history)
    assert verdict.validity == "valid"
    assert places(verdict, "healed") == [["parm", "parm-broker", "broker", "sync-broker"]]
    assert (verdict.resent, verdict.resent_needlessly) == (2, 1)


@pytest.mark.parametrize(("resent_at", "needless"), [(4_100, 0), (4_500, 0), (5_500, 1)])
def test_what_a_view_had_before_it_was_sent_again_was_not_healed(resent_at: int, needless: int) -> None:
    """Whatever the stages behind it say: they know the attempt from the document alone, which anybody may have written."""
    history = healthy()
    assert history.ledger is not None
    entries = history.ledger.source(ONE)
    entries.attempts, entries.resent_ms = {4: 2}, {4: START_MS + resent_at}
    gateway = view(history, "gateway")
    assert gateway.read is not None
    gateway.read[ONE].applied_at_ms = packed_times(at_ms + 500 for at_ms in entries.times_ms)
    stage(history, "poseidon").first_taken_on_retry[ONE] = IntervalSet([(4, 4)])
    verdict = check(history)
    assert (verdict.validity, verdict.resent_needlessly, len(places(verdict, "healed"))) == (
        "valid",
        needless,
        1 - needless,
    )


def test_what_never_arrived_was_neither_healed_nor_sent_again_needlessly() -> None:
    """A later sending came further than the first, and was lost too; another was lost before anybody saw it."""
    history = healthy()
    assert history.ledger is not None
    history.ledger.source(ONE).attempts = {4: 2, 5: 2}
    history.ledger.source(ONE).applied = IntervalSet([(1, 3), (6, 10)])
    for sequence in (4, 5):
        lose(history, ONE, sequence, after="parm", handed_on=True)
    stage(history, "parm").first_taken_on_retry[ONE] = IntervalSet([(4, 4)])
    verdict = check(history)
    only(verdict, "never_read", 2)
    assert places(verdict, "healed") == []
    assert (verdict.resent, verdict.resent_needlessly) == (2, 0)


def spoil(code: str) -> History:  # noqa: C901 - a case a reason
    """A history that is unknown for one reason."""
    history = healthy()
    sales = view(history, "sales")
    match code:
        case "ledger_missing":
            history.ledger = None
        case "ledger_gaps":
            assert history.ledger is not None
            history = replace(history, views=[])
            history.views = [view(healthy(), "gateway")]
            entries = history.ledger.source(ONE) if history.ledger else None
            assert entries is not None
            entries.sequences = IntervalSet([(2, 11)])
            entries.applied = IntervalSet([(2, 11)])
            assert history.views[0].read is not None
            history.views[0].read[ONE] = ViewRead(intervals=[(2, 11)], hashes=bytes(entries.hashes))
        case "nothing_sent":
            history = History()
            history.views = [replace(sales, read={})]
        case "no_final_read":
            sales.read = None
        case "read_broken":
            assert sales.read is not None
            sales.read[ONE] = ViewRead(intervals=[(1, 10)], hashes=b"short")
        case "heard_in_part":
            view(history, "gateway").heard = True
            history.broker = BrokerAccount(dropped=1)
        case "stage_dead":
            stage(history, "poseidon").alive_at_end = False
        case "witness_full":
            stage(history, "poseidon").unnoted = 1
        case "aborted" | "unresolved":
            lose(history, ONE, 10, after="emulator", handed_on=True)
            assert history.ledger is not None
            history.ledger.source(ONE).applied = IntervalSet([(1, 9)])
            history.aborted = code == "aborted"
        case "not_healed":
            sales.healed_at_ms = None
        case "read_too_soon":
            board = view(history, "store_board")
            board.registers_found = {**board.registers_expected, "taco.west.s0001": "OFFLINE"}
            board.read_at_ms = START_MS + 29_999
        case "registers_unknown":
            view(history, "store_board").registers_found = {"taco.west.s0001": "OFFLINE"}
            history.unheard_stages = frozenset({"emulator"})
        case "convergence_unmeasured":
            sales.converged_at_ms = sales.read_at_ms = None
        case "machine_stalled":
            sales.converged_at_ms = START_MS + 33_000
            history.stalls = [Stall("lab", START_MS + 22_000, 5_000.0)]
        case "ledger_contradicts":
            assert history.ledger is not None
            history.ledger.source(ONE).rejected = {11: ("parm", "totals")}
        case "evidence_missing":
            assert sales.read is not None
            sales.by_value = True
            sales.read[ONE] = ViewRead(intervals=sales.read[ONE].intervals, hashes=b"")
        case "times_contradict":
            assert sales.read is not None
            sales.read[ONE].applied_at_ms = packed_times([START_MS] * 10)
        case "letters_unheard":
            history.letters = Letters()
            stage(history, "parm").rejects = {"schema": 1}
        case (
            "ledger_unreadable"
            | "witnesses_missing"
            | "witnesses_of_another_run"
            | "plan_broken"
            | "letters_missing"
            | "seal_broken"
            | "never_sealed"
        ):
            history.notes = [(code, "")]
        case "budget_unsure":
            history.allow = {"restarts": 0}
        case "checker_failed":
            assert sales.read is not None
            history.stages[1].taken = None  # type: ignore[assignment]
            forget(history, "sales", ONE, 4)
    return history


@pytest.mark.parametrize("code", sorted(UNKNOWN_REASONS))
def test_every_unknown_reason(code: str) -> None:
    """Each reason of the table makes the verdict unknown, and says what would make it known."""
    verdict = check(spoil(code))
    assert verdict.validity == "unknown"
    assert code in codes(verdict)[1]
    assert all(entry.would_make_it_known for entry in verdict.unknown)


def test_the_checker_changes_nothing() -> None:
    """Judging twice gives the same verdict, also where a read is thrown out."""
    history = spoil("read_broken")
    assert check(history) == check(history)


def test_the_worst_counts() -> None:
    """Together, invalid goes before unknown before valid, and no reason is outside the tables."""
    assert worst(["valid", "unknown", "invalid"]) == "invalid"
    assert worst(["valid", "unknown"]) == "unknown"
    assert worst([]) == "valid"
    assert validity(bad=True, unsure=True) == "invalid"
    with pytest.raises(KeyError):
        unknown("bad luck")
    assert set(CLASSES) - {"ok", "unread", "never_read", "recovered"} <= set(INVALID_REASONS)


def test_what_a_lab_proved_late_stays_late_when_another_goes_on() -> None:
    """A reading is measured by the calm of its own life: the next life neither forgets it nor adds the gap to it."""
    history = late_history()
    sales = view(history, "sales")
    sales.calm_since_ms = START_MS + 50_000
    assert codes(check(history)) == ([], []), "the reading lies before the only calm there is"
    sales.calm_earlier = [(START_MS + 20_000, START_MS + 40_000)]
    verdict = check(history)
    assert codes(verdict) == (["stale"], [])
    assert places(verdict, "stale") == [["broker", "sync-broker"]]
    sales.calm_earlier = [(START_MS + 25_000, START_MS + 40_000)]
    assert codes(check(history)) == ([], []), "that life was calm for 8 s only"


def test_the_time_without_a_lab_makes_nothing_late() -> None:
    """What was committed before a lab died has its whole deadline again once the next one is calm."""
    history = late_history()
    sales = view(history, "sales")
    sales.calm_earlier = [(START_MS, START_MS + 11_000)]
    sales.calm_since_ms = START_MS + 23_000
    assert codes(check(history)) == ([], [])
    sales.calm_since_ms = START_MS + 22_999
    assert codes(check(history)) == (["stale"], [])


@pytest.mark.parametrize(
    ("dropped", "lacking", "codes"),
    [
        (0, 0, ([], [])), (5, 0, ([], ["heard_in_part"])), (5, 5, ([], ["heard_in_part"])),
        (5, 6, (["lost"], ["heard_in_part"])), (0, 1, (["lost"], [])),
    ],
)  # fmt: skip
def test_what_the_broker_may_have_dropped_for_the_lab_itself_is_not_lost(
    dropped: int, lacking: int, codes: tuple[list[str], list[str]]
) -> None:
    """Of a view that only the lab heard; what lacks beyond that number is."""
    history = healthy()
    gateway = view(history, "gateway")
    history.views, gateway.heard = [gateway], True
    history.broker = BrokerAccount(dropped=dropped)
    if lacking:
        gateway.read[ONE] = read_of(ONE, IntervalSet([(lacking + 1, 10)]))  # type: ignore[index]
    verdict = check(history)
    assert ([one.code for one in verdict.invalid], [one.code for one in verdict.unknown]) == codes


def test_what_is_wrong_stays_wrong_though_the_broker_dropped_messages() -> None:
    """A lower bound of what was heard is no excuse for what it shows."""
    history = healthy()
    gateway = view(history, "gateway")
    history.views, gateway.heard = [gateway], True
    history.broker = BrokerAccount(dropped=99)
    gateway.read[ONE] = read_of(ONE, IntervalSet([(1, 10)]), {3: 1})  # type: ignore[index]
    verdict = check(history)
    assert "corrupted" in [one.code for one in verdict.invalid]
