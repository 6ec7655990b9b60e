"""The machine's own standstill: which stalls count, for which cause, and what they excuse: deadlines, nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from storefleet.verdict.check import check
from storefleet.verdict.history import History, Reading
from storefleet.verdict.machine import CAUSES, Cause, MachineRecord, Stall, Standstill, figures, total_ms
from storefleet.verdict.result import Verdict
from storefleet.verdict.run_folder import read_run
from storefleet.verdict.run_format import Plan
from storefleet.verdict.table import plain_text
from tests.verdict.world import SOURCES, START_MS, healthy, lose, stage, view

ONE = SOURCES[0]
HEALED_MS = START_MS + 20_000
PROCESSES = ("lab", "views", "gateway", "parm")


def codes(verdict: Verdict) -> tuple[list[str], list[str]]:
    """Codes of what is wrong, and of what is not known."""
    return [entry.code for entry in verdict.invalid], [entry.code for entry in verdict.unknown]


@pytest.mark.parametrize(
    ("stalls", "expected"),
    [
        ([Stall("views", 1_000, 4_000.0)], {}),
        ([Stall("views", 1_000, 4_000.0), Stall("views", 2_000, 500.0)], {}),
        ([Stall("views", 1_000, 4_000.0), Stall("gateway", 4_000, 4_000.0)], {"event_loop": 1_000.0}),
        ([Stall("views", 1_000, 4_000.0), Stall("lab", 3_000, 3_000.0), Stall("parm", 1_000, 1_000.0)],
         {"event_loop": 4_000.0}),
        ([Stall("lab", 9_000, 3_000.0)], {"event_loop": 1_000.0}),
        ([Stall("lab", 1_000, 900.0), Stall("lab", 5_000, 340.0, "disk_wait")],
         {"event_loop": 900.0, "disk_wait": 340.0}),
        ([Stall("lab", 1_000, 1_000.0), Stall("lab", 1_200, 500.0, "cpu_steal")],
         {"event_loop": 500.0, "cpu_steal": 500.0}),
        ([Stall("lab", 1_000, 1_000.0, cause) for cause in CAUSES], {"stopped": 1_000.0}),
        ([Stall("lab", 1_000, 1_000.0, "disk_wait"), Stall("lab", 1_500, 1_000.0, "disk_wait")],
         {"disk_wait": 1_500.0}),
        ([Stall("lab", 1_000, 0.0), Stall("lab", 2_000, -5.0)], {}),
    ],
    ids=["one process", "one twice", "two at once", "the lab and two", "cut by the end", "two causes", "a cause within",
         "all at once", "overlapping", "no time"],
)  # fmt: skip
def test_which_stalls_are_the_machines(stalls: list[Stall], expected: dict[Cause, float]) -> None:
    """The lab's word or two processes at once; each moment once, under the cause that explains most."""
    assert Standstill(stalls).by_cause(0, 10_000) == expected


def test_two_stages_under_test_are_not_a_machine_that_was_measured() -> None:
    """Where the lab measured its machine, stages that stand still excuse nothing, however many they are."""
    history = healthy()
    view(history, "sales").converged_at_ms = HEALED_MS + 13_000
    history.stalls = [
        Stall(process, HEALED_MS + 1_000, 8_000.0) for process in ("poseidon-1", "olympus_dgs-1", "parm-1")
    ]
    assert codes(check(history)) == ([], ["machine_stalled"]), (
        "an old run folder: nobody else says what the machine did"
    )
    history.machine = MachineRecord(measured=list(CAUSES))
    verdict = check(history)
    assert codes(verdict) == (["late"], [])
    assert verdict.machine.stalled_ms == 0.0


def test_the_causes_are_a_fixed_table() -> None:
    """Every cause that a file may name has its words, and the loop, which is only a symptom, comes last."""
    assert tuple(CAUSES) == get_args(Cause)
    assert list(CAUSES)[-1] == "event_loop"


stalls_of_a_short_time = st.lists(
    st.builds(
        Stall, st.sampled_from(PROCESSES), st.integers(0, 60), st.integers(0, 20).map(float), st.sampled_from(list(CAUSES))
    ),
    max_size=8,
)  # fmt: skip


def stands_still(stalls: list[Stall], at_ms: int) -> bool:
    """Whether the machine stands still from this millisecond to the next, by the words of the rule."""
    still = {stall.process for stall in stalls if stall.at_ms <= at_ms < stall.at_ms + stall.duration_ms}
    return "lab" in still or len(still) > 1


@given(stalls_of_a_short_time, st.integers(0, 90), st.integers(0, 90))
def test_a_standstill_is_counted_moment_by_moment(stalls: list[Stall], from_ms: int, until_ms: int) -> None:
    """However stalls overlap, the causes together are the milliseconds in which the machine stood still."""
    counted = sum(stands_still(stalls, at_ms) for at_ms in range(from_ms, until_ms))
    assert total_ms(Standstill(stalls).by_cause(from_ms, until_ms)) == counted


@given(stalls_of_a_short_time, st.integers(0, 90), st.integers(0, 40))
@example([Stall("lab", 10, 20.0)], 15, 0)
@example([Stall("lab", 10, 20.0)], 35, 5)
def test_the_limit_leaves_the_whole_deadline_to_run(stalls: list[Stall], at_ms: int, deadline_ms: int) -> None:
    """From the limit on the machine ran for the deadline, and from a millisecond later on it did not."""
    limit_ms = Standstill(stalls).running_limit_ms(at_ms, deadline_ms)

    def ran_ms(since_ms: int) -> int:
        return sum(not stands_still(stalls, moment_ms) for moment_ms in range(since_ms, at_ms))

    assert ran_ms(limit_ms) == deadline_ms
    assert limit_ms == at_ms or ran_ms(limit_ms + 1) < deadline_ms


def test_figures_name_the_longest_first() -> None:
    """Milliseconds with their causes in words."""
    assert figures({"disk_wait": 340.0, "event_loop": 900.4}) == "event loop 900, disk wait 340"


@pytest.mark.parametrize(("cause", "words"), CAUSES.items())
def test_a_late_view_is_unknown_with_figures(cause: Cause, words: str) -> None:
    """A view that the machine made late is not known to be wrong; how long it stood still is told by cause."""
    history = healthy()
    view(history, "sales").converged_at_ms = HEALED_MS + 13_000
    history.stalls = [Stall("lab", HEALED_MS + 2_000, 3_000.0, cause)]
    verdict = check(history)
    assert codes(verdict) == ([], ["machine_stalled"])
    assert verdict.unknown[0].detail == (
        f"sales: 13,000 ms, deadline 10,000 ms; the machine stood still for 3,000 ms of them: {words} 3,000"
    )
    (account,) = (account for account in verdict.views if account.view == "sales")
    assert (account.stalled_ms, account.stalled_by_cause) == (3_000.0, {cause: 3_000.0})
    history.stalls = [Stall("lab", HEALED_MS + 2_000, 2_999.0, cause)]
    assert codes(check(history)) == (["late"], [])


def late_event(history: History) -> None:
    """The views had terminal one's event 4 no sooner than 13 s after healing."""
    seen = {ONE: [(1, 3), (5, 10)]}
    stage(history, "views").timeline = view(history, "sales").timeline = [Reading(HEALED_MS + 13_000, seen, seen)]


def wrong_register(history: History) -> None:
    """A store still looks closed 13 s after healing."""
    board = view(history, "store_board")
    board.registers_found = {**board.registers_expected, "taco.west.s0001": "OFFLINE"}
    board.converged_at_ms, board.read_at_ms = None, HEALED_MS + 13_000


@pytest.mark.parametrize("cause", CAUSES)
@pytest.mark.parametrize(
    ("spoil", "code", "detail"),
    [
        (late_event, "stale", "sales: 1 events; the machine stood still for 4,000 ms meanwhile: "),
        (wrong_register, "registers_differ", "store_board: 1 of 2 registers; the machine stood still for 4,000 ms"),
    ],
    ids=["event", "register"],
)  # fmt: skip
def test_what_came_late_is_unknown_with_figures(spoil, code: str, detail: str, cause: Cause) -> None:  # type: ignore[no-untyped-def]
    """Late events and registers are excused by any cause for as long as it lasted, and by nothing shorter."""
    history = healthy()
    spoil(history)
    assert codes(check(history)) == ([code], [])
    history.stalls = [Stall("lab", HEALED_MS + 5_000, 4_000.0, cause)]
    verdict = check(history)
    assert codes(verdict) == ([], ["machine_stalled"])
    assert verdict.unknown[0].detail.startswith(detail)
    assert verdict.unknown[0].detail.endswith(f"{CAUSES[cause]} 4,000")
    history.stalls = [Stall("lab", HEALED_MS + 5_000, 2_000.0, cause)]
    assert codes(check(history)) == ([code], [])


@pytest.mark.parametrize("cause", CAUSES)
def test_loss_is_excused_by_no_cause(cause: Cause) -> None:
    """Whatever the machine did, and for however long: lost is lost, doubled is doubled, altered is altered."""
    history = healthy()
    history.stalls = [Stall("lab", START_MS, 100_000.0, cause)]
    lose(history, ONE, 4, after="parm", handed_on=False)
    sales = view(history, "sales")
    assert sales.read is not None
    sales.read[SOURCES[1]].repeated.append((5, 2))
    changed = bytearray(sales.read[SOURCES[2]].hashes)
    changed[0] ^= 1
    sales.read[SOURCES[2]] = msgspec.structs.replace(sales.read[SOURCES[2]], hashes=bytes(changed))
    assert sorted(codes(check(history))[0]) == ["corrupted", "duplicated", "lost"]


def test_a_run_says_what_was_measured() -> None:
    """The verdict holds the whole run's standstill by cause, and which causes a 0 speaks for; so does the report."""
    history = healthy()
    history.stalls = [Stall("lab", START_MS, 900.0), Stall("lab", START_MS + 5_000, 340.0, "disk_wait")]
    history.machine = MachineRecord(
        measured=["event_loop", "disk_wait", "stopped"], watched_ms=43_210, cpu_waited_ms=31_000
    )
    verdict = check(history)
    assert verdict.validity == "valid", "a standstill that made nothing late harms nothing"
    assert verdict.machine.stalled_by_cause == {"event_loop": 900.0, "disk_wait": 340.0}
    assert verdict.machine.stalled_ms == 1_240.0
    report = " ".join(plain_text(verdict, "run").split())
    assert (
        "Machine: stood still for 1,240 ms (event loop 900, disk wait 340); measured: sleep, disk wait, event loop;"
        " not measured: CPU steal. CPU was contended 72 % of the time (not counted as an excuse)." in report
    )
    history.stalls, history.machine = [], MachineRecord(measured=list(CAUSES))
    report = " ".join(plain_text(check(history), "run").split())
    assert "Machine: never stood still; measured: sleep, CPU steal, disk wait, event loop." in report


def test_a_run_folder_without_causes_is_read(tmp_path: Path) -> None:
    """A plan that knows of loops only means those; nothing is claimed to have been measured."""
    plan = json.loads(msgspec.json.encode(Plan()))
    del plan["machine"]
    plan["stalls"] = [{"process": "lab", "at_ms": 5, "duration_ms": 700.0}]
    (tmp_path / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    history, _ = read_run(tmp_path)
    assert history.stalls == [Stall("lab", 5, 700.0, "event_loop")]
    assert history.machine is None
    history.ledger = healthy().ledger
    verdict = check(history)
    assert (verdict.machine.stalled_by_cause, verdict.machine.measured) == ({"event_loop": 700.0}, [])
    report = plain_text(verdict, "run")
    assert "Machine: stood still for 700 ms (event loop 700).\n" in report


def test_many_stalls_are_judged_at_once() -> None:
    """A run whose every second was stolen is judged like another: each cause once, nothing excused beyond it."""
    history = healthy()
    late_event(history)
    history.stalls = [Stall("lab", START_MS + 1_000 * second, 600.0, "cpu_steal") for second in range(10_000)]
    verdict = check(history)
    assert codes(verdict) == ([], ["machine_stalled"])
    assert verdict.machine.stalled_ms == 6_000_000.0
    assert verdict.counts["stale"] == 1
