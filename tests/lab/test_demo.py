"""The main job: one command, a complete run folder, and the same verdict whenever it is asked for."""

from __future__ import annotations

import json
import signal
import sqlite3
import sys
from pathlib import Path
from xml.etree import ElementTree

from storefleet.verdict.log_file import LOG_FILE_NAME, read_log
from tests.lab.command_line import DEADLINE_S, CommandLine, read_verdict, until

DEMO = ("demo", "--stores", 4, "--rate", "40/s", "--runs", "runs", "--keep", "all")
FILES = (
    "plan.json", "ledger.sqlite", "witnesses.jsonl", "reads.json", "journeys.json", "verdict.json", "junit.xml",
    "report.txt", "lab.json",
)  # fmt: skip
STAGES = {"parm", "sync_stage", "gateway", "poseidon", "olympus_dgs", "views", "chaos", "emulator", "broker"}


def test_the_demo_ends_with_a_valid_verdict_and_a_complete_run_folder(command_line: CommandLine) -> None:
    """Exit status 0, plain lines, every file of the run folder readable, the verdict repeatable offline."""
    shown = command_line.run(*DEMO, "--name", "demo")
    assert "\x1b" not in shown.stdout
    assert "fault: region west" in shown.stdout
    assert "VALID" in shown.stdout
    (folder,) = command_line.run_folders()
    assert str(folder) in shown.stdout
    assert_readable(folder)
    again = command_line.json("verdict", folder)
    assert again == read_verdict(folder)
    assert_traceable(command_line, folder)
    command_line.until_nothing_is_left(within_s=20.0)


def assert_readable(folder: Path) -> None:
    """Every file that a run leaves is there and is what its name says."""
    assert {path.name for path in folder.iterdir()} >= {*FILES, "logs"}
    for name in ("plan.json", "reads.json", "journeys.json", "lab.json"):
        assert json.loads((folder / name).read_text(encoding="utf-8"))
    lines = (folder / "witnesses.jsonl").read_text(encoding="utf-8").splitlines()
    header, *snapshots = [json.loads(line) for line in lines]
    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    assert (header["run"], header["started_at_ms"]) == (plan["name"], plan["started_at_ms"])
    assert {snapshot["stage"] for snapshot in snapshots} >= STAGES - {"broker"}
    suite = ElementTree.fromstring((folder / "junit.xml").read_text(encoding="utf-8"))
    assert not list(suite.iter("failure"))
    assert {path.name for path in (folder / "logs").iterdir()} == {f"{stage}-1.log" for stage in STAGES}
    verdict = read_verdict(folder)
    with sqlite3.connect(f"file:{folder / 'ledger.sqlite'}?mode=ro", uri=True) as ledger:
        (count,) = ledger.execute("SELECT count(*) FROM event").fetchone()
    assert (verdict["validity"], verdict["counts"]["ok"], verdict["sent"]) == ("valid", count, count)
    assert "VALID" in (folder / "report.txt").read_text(encoding="utf-8")
    assert_machine_watched(folder)
    assert_logged(folder)


def assert_logged(folder: Path) -> None:
    """The log has every phase and process, and the fault from its beginning to its end, with what it did."""
    log = read_log(folder / LOG_FILE_NAME)
    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    assert [one.text for one in log if one.kind == "phase"] == [phase["name"] for phase in plan["phases"]]
    assert {one.who for one in log if one.kind == "start"} == {"lab", *(f"{stage}-1" for stage in STAGES)}
    on, off = (one for one in log if one.who == "terminals-broker")
    (fault,) = plan["faults"]
    assert (on.kind, on.at_ms, off.kind, off.at_ms) == ("fault_on", fault["begin_ms"], "fault_off", fault["end_ms"])
    assert on.text == "partition of region west on terminals-broker, for at most 30 s"
    assert "confirmed: " in off.text
    assert LOG_FILE_NAME in plan["seal"]["files"]


def assert_machine_watched(folder: Path) -> None:
    """Plan, verdict and report say what was measured of the machine; on Linux that is all there is."""
    plan, verdict = (json.loads((folder / name).read_text(encoding="utf-8")) for name in ("plan.json", "verdict.json"))
    measured = (
        {"stopped", "cpu_steal", "disk_wait", "event_loop"} if sys.platform == "linux" else {"event_loop", "disk_wait"}
    )
    assert set(plan["machine"]["measured"]) == measured
    assert plan["machine"]["watched_ms"] > 10_000
    assert verdict["machine"].items() >= plan["machine"].items()
    assert verdict["machine"]["stalled_ms"] == sum(verdict["machine"]["stalled_by_cause"].values())
    report = " ".join((folder / "report.txt").read_text(encoding="utf-8").split())
    assert "measured: " in report.partition("Machine: ")[2]


def assert_traceable(command_line: CommandLine, folder: Path) -> None:
    """The journey of a recorded event names every stage that it went through."""
    key = command_line.json("trace", "--run", folder, "--last")["key"]
    steps = command_line.json("trace", "--run", folder, key)["steps"]
    assert set(steps) >= {"emulator-1", "parm-1", "sync_stage-1", "poseidon-1", "views-1"}
    assert key in command_line.run("trace", "--run", folder, key).stdout


def test_json_output_is_json_lines_only(command_line: CommandLine) -> None:
    """``up --json`` prints lab.json when it is ready and the verdict at the end, a line each, nothing else."""
    up = ("up", "--stores", 3, "--rate", "40/s", "--name", "lab", "--runs", "runs", "--json")
    with command_line.running(*up) as process:
        until(lambda: command_line.output.endswith("}\n"), "it is ready")
        until(lambda: command_line.json("status")["picture"]["stages"][0]["total"] > 20, "it trades")
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_S) == 0
    lab, end = map(json.loads, command_line.output.splitlines())
    assert lab["join"].startswith("mqtt://127.0.0.1:")
    folder = Path(end["run_folder"])
    assert lab == json.loads((folder / "lab.json").read_text(encoding="utf-8"))
    assert (end["exit_status"], end["verdict"]) == (0, read_verdict(folder))
    assert "lab.json when ready" in command_line.run("demo", "--help").stdout
