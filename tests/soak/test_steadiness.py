"""Many small labs: the rules by value, the probe and the loops as processes, and the shortest of all courses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from storefleet.soak.beside import LOOPS_A_CORE, NAP_S, Beside, Standstill, read_standstills, standstills_of
from storefleet.soak.schedule import schedule_text
from storefleet.soak.steadiness import SCHEDULES, drawn, shared
from storefleet.soak.steady_rules import SteadyRun, broken_rules, summary
from storefleet.verdict.machine import Stall
from storefleet.verdict.run_format import Plan
from tests.lab.command_line import CommandLine, until

SEEN = [Standstill(1_000, 1_900)]
TIMEOUT_S = 280.0

pytestmark = pytest.mark.timeout(TIMEOUT_S + 20)


def run(validity: Any = "valid", *reasons: str, kind: Any = "healthy", seen: bool = False) -> SteadyRun:
    """One run as it came out."""
    return SteadyRun(kind=kind, seed=7, validity=validity, reasons=list(reasons), seen=SEEN if seen else [])


@pytest.mark.parametrize(
    ("one", "wrong"),
    [
        (run(), ""),
        (run("unknown", "machine_stalled", seen=True), ""),
        (run("unknown", "machine_stalled"), "it is unknown, and nobody else saw the machine stand still"),
        (run("unknown", "machine_stalled", "unresolved", seen=True), "another reason"),
        (run("unknown", "aborted", seen=True), "another reason"),
        (run("invalid", "lost"), "it is invalid"),
        (run("invalid", "lost", "machine_stalled", seen=True), "it is invalid"),
        (run(None), "it left no verdict"),
        (run(kind="suffering"), ""),
        (run("unknown", "machine_stalled", kind="suffering", seen=True), "it is unknown"),
        (run("invalid", "stale", kind="suffering"), "it is invalid"),
    ],
    ids=str,
)
def test_what_one_run_may_be(one: SteadyRun, wrong: str) -> None:
    """A healthy one valid, or unknown with a standstill that somebody else saw; a suffering one valid."""
    assert (wrong in one.wrong) if wrong else not one.wrong


def test_one_in_ten_may_be_unknown() -> None:
    """Of the healthy ones only, and counted over all of them."""
    unknown = run("unknown", "machine_stalled", seen=True)
    assert list(broken_rules([run()] * 27 + [unknown] * 3)) == []
    assert list(broken_rules([run()] * 26 + [unknown] * 4)) == ["4 of 30 healthy runs are unknown; at most 3 may be"]
    assert list(broken_rules([unknown])) == ["1 of 1 healthy runs are unknown; at most 0 may be"]
    assert list(broken_rules([run("invalid", "lost")])) == ["healthy, seed 7: it is invalid"]
    assert summary([run(), unknown, run(kind="suffering")]) == "2 healthy: 1 valid, 1 unknown; 1 suffering: 1 valid"


def test_a_standstill_counts_when_both_have_seen_it() -> None:
    """The lab's own word and the probe's, at the same time; a stage that stood is no machine that stood."""
    plan = Plan(stalls=[Stall("lab", 2_500, 600.0), Stall("views-1", 9_000, 5_000.0)])
    far = Standstill(9_000, 14_000)
    assert shared(plan, [*SEEN, far]) == SEEN
    assert shared(Plan(stalls=[Stall("lab", 3_500, 600.0)]), [*SEEN, far]) == []


def test_a_nap_that_takes_far_too_long_is_a_standstill() -> None:
    """From when it was to wake until it woke; half a second is not too long yet."""
    assert list(standstills_of([(NAP_S, 1.0), (NAP_S + 0.4, 2.0), (NAP_S + 0.8, 3.0)])) == [Standstill(2_200, 3_000)]
    assert read_standstills("2200 3000\n9000 95") == [Standstill(2_200, 3_000)]


def test_the_same_seed_draws_the_same_faults() -> None:
    """Another one draws others, none of which is a long pause."""
    first, again, other = ([schedule_text(steps) for steps in drawn(seed)] for seed in (3, 3, 4))
    assert len(first) == SCHEDULES
    assert first == again != other


def tells_when_stopped(beside: Beside, probe: subprocess.Popen[bytes]) -> bool:
    """Stop the probe for a second; whether it has told of it by now, which it cannot while it is only starting."""
    probe.send_signal(signal.SIGSTOP)
    time.sleep(1.0)
    probe.send_signal(signal.SIGCONT)
    time.sleep(0.2)
    return any(one.until_ms - one.from_ms >= 400 for one in beside.standstills())


def test_the_probe_sees_a_standstill_and_loops_are_busy() -> None:
    """A probe that is stopped for a second tells of it; the loops are there while they are wanted."""
    with Beside() as beside:
        assert beside.busy() == beside.busy() == len(beside._loops) >= LOOPS_A_CORE
        loops = list(beside._loops)
        (probe,) = beside._processes
        until(lambda: tells_when_stopped(beside, probe), "it tells of a standstill")
        beside.quiet()
        assert all(loop.returncode is not None for loop in loops)
    assert probe.returncode is not None


def words(*options: object) -> list[str]:
    """The command of a short course."""
    return [sys.executable, "-P", "-m", "storefleet.soak.steadiness", *map(str, options)]


def test_the_shortest_course(command_line: CommandLine) -> None:
    """A healthy lab beside busy loops and one that suffers; what is valid leaves no folder, nothing is left running."""
    done = subprocess.run(
        words("--seed", 7, "--healthy", 1, "--suffering", 1, "--trade-for", 2, "--json", "--runs", command_line.runs),
        cwd=command_line.folder, env=command_line.environment, capture_output=True, text=True, check=False,
        timeout=TIMEOUT_S, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    print(done.stderr)
    report = json.loads(done.stdout)
    healthy, suffering = report["runs"]
    assert suffering["suffered"]
    assert healthy["validity"] in {"valid", "unknown"}, healthy  # of one lab nobody can say that one in ten is allowed
    assert suffering["validity"] == "valid", suffering
    kept = [one["run_folder"] for one in report["runs"] if one["run_folder"]]
    assert sorted(kept) == [str(folder) for folder in command_line.run_folders()]
    assert done.returncode == (1 if report["broken_rules"] else 0)
    assert [rule for rule in report["broken_rules"] if "nobody else" in rule or "another reason" in rule] == []
    command_line.until_nothing_is_left(within_s=20.0)


def test_an_interrupted_course_leaves_nothing(command_line: CommandLine) -> None:
    """Ctrl-C while a lab comes up beside the loops: one line, exit status 130."""
    said = command_line.folder / "said.txt"
    with said.open("wb") as output:
        process = subprocess.Popen(
            words("--healthy", 1, "--runs", command_line.runs), cwd=command_line.folder, env=command_line.environment,
            stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    try:
        until(lambda: "busy loops beside" in said.read_text(encoding="utf-8"), "the loops run")
        until(
            lambda: any(" storefleet up " in command for command in command_line.leftovers().values()), "a lab comes up"
        )
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=TIMEOUT_S) == 130
    finally:
        process.kill()
        process.wait()
    assert said.read_text(encoding="utf-8").endswith("storefleet: stopped; nothing is left running\n")
    command_line.until_nothing_is_left(within_s=20.0)
