"""The lab's own process is killed, again and again, or stands still: its run goes on, and nothing is lost or doubled."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import socket
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from storefleet.process_identity import ProcessIdentity
from storefleet.verdict.log_file import LOG_FILE_NAME, read_log
from tests.lab.command_line import DEADLINE_S, CommandLine, Lab, read_verdict, until

PAUSE_S = 5.0
SEED = 20_270_101


def kill_lab(command_line: CommandLine, name: str = "lab") -> None:
    """kill -9 of the lab's own process; what it had started ends by itself."""
    own = lab_process(command_line, name)
    own.signal(signal.SIGKILL)
    until(lambda: not own.alive(), "the lab is dead")


def lab_process(command_line: CommandLine, name: str = "lab") -> ProcessIdentity:
    """The lab's own process, as it has written it down."""
    rows = json.loads((command_line.home / "labs" / name / "processes.json").read_text(encoding="utf-8"))
    (row,) = [row for row in rows if row["name"] == "lab"]
    return ProcessIdentity(row["process_id"], row["started"])


def ledger(folder: Path, query: str) -> list[Any]:
    """Rows of a run's ledger."""
    with contextlib.closing(sqlite3.connect(f"file:{folder / 'ledger.sqlite'}?mode=ro", uri=True)) as database:
        return database.execute(query).fetchall()


def assert_no_gap(folder: Path) -> int:
    """Every till has numbered its events from 1 without a gap; returns how many there are."""
    rows = ledger(
        folder, "SELECT count(*), count(DISTINCT sequence), min(sequence), max(sequence) FROM event GROUP BY source"
    )
    assert rows
    assert all(count == distinct == last and first == 1 for count, distinct, first, last in rows)
    return sum(count for count, *_ in rows)


def plan(folder: Path) -> dict[str, Any]:
    """``plan.json`` of a run folder."""
    found: dict[str, Any] = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    return found


def phases(folder: Path) -> list[str]:
    """The names of a run's phases, in order."""
    return [phase["name"] for phase in plan(folder)["phases"]]


def addresses(lab: Lab) -> dict[str, str]:
    """Every address at which somebody may have joined a lab, by the name under which the lab has it."""
    hops = {name: hop["listen"] for name, hop in lab.description["hops"].items()}
    return {**hops, "broker": lab.description["broker"]["address"], "gateway": lab.description["gateway"]}


def test_a_killed_lab_goes_on_where_it_was(command_line: CommandLine) -> None:
    """After kill -9 of the lab the next one trades on in the same run, at the same addresses, and the verdict is valid."""
    lab = command_line.up("--malformed", 0.1)
    lab.wait_for_trade()
    kill_lab(command_line)
    before = ledger(lab.run_folder, "SELECT source, sequence, hash, business_day_date FROM event")
    died = plan(lab.run_folder)
    assert f"its run can go on: storefleet up --resume {lab.run_folder}" in command_line.run("status", status=2).stderr
    command_line.run("up", "--resume", lab.run_folder, "--detach")
    again = command_line.attach("lab")
    assert (again.run_folder, again.description["topic_root"]) == (lab.run_folder, lab.description["topic_root"])
    before_death, since = addresses(lab), addresses(again)
    moved = [name for name, address in before_death.items() if since[name] != address]
    assert all(f"of {name} is taken" in said_by_the_lab(command_line) for name in moved)
    again.wait_for_trade(total=len(before) + 40)
    assert again.stage("sync_stage")["total"] > 0
    verdict = again.down()
    assert (verdict["validity"], verdict["sent"]) == ("valid", assert_no_gap(lab.run_folder))
    assert verdict["dead_letters_at_least"]  # nobody heard those of the time between
    assert all(letter["explained_by"] for letter in verdict["letters"])
    assert set(before) <= set(ledger(lab.run_folder, "SELECT source, sequence, hash, business_day_date FROM event"))
    assert phases(lab.run_folder)[:5] == ["starting", "trading", "lab gone", "starting", "trading"]
    ended = plan(lab.run_folder)
    assert [ended[name] for name in ("started_at_ms", "seed", "name")] == [
        died[name] for name in ("started_at_ms", "seed", "name")
    ]
    assert len(ended["restarts"]["lab"]) == 1
    log = read_log(lab.run_folder / LOG_FILE_NAME)
    gone_for = ended["restarts"]["lab"][0].removesuffix(" of absence")
    assert [(one.who, one.text) for one in log if one.kind == "lab_gone"] == [("lab", f"for {gone_for}")]
    told = ["lab gone" if one.kind == "lab_gone" else one.text for one in log if one.kind in ("phase", "lab_gone")]
    assert told == phases(lab.run_folder), "one log, from the first lab's beginning to the second one's end"
    assert f"lab: {ended['restarts']['lab'][0]}" in command_line.run("verdict", lab.run_folder).stdout
    command_line.until_nothing_is_left(within_s=20.0)


def test_a_lab_killed_again_and_again_converges(command_line: CommandLine) -> None:
    """Killed at random moments, also while it starts, the lab goes on each time; nothing is lost and nothing doubled."""
    moments = random.Random(SEED)
    command: tuple[object, ...] = ("up", "--stores", 3, "--rate", "40/s", "--name", "lab")
    for signs in moments.sample(SIGNS, len(SIGNS)):
        before, delay_s = signs(command_line), moments.uniform(0.0, 0.5)
        print(f"seed {SEED}: killed {delay_s:.3f} s after {signs.__name__}")
        with command_line.running(*command) as process:
            until(lambda signs=signs, before=before: signs(command_line) > before, signs.__name__)
            time.sleep(delay_s)  # no condition: a moment that nothing has chosen
            process.kill()
            process.wait()
        command = ("up", "--resume", "latest")
    lab = resumed_beside_a_stranger(command_line)
    lab.wait_for_trade(total=lab.stage("emulator")["total"] + 40)
    verdict = lab.down()
    assert (verdict["validity"], verdict["sent"]) == ("valid", assert_no_gap(lab.run_folder))
    assert len(plan(lab.run_folder)["restarts"]["lab"]) == len(SIGNS)
    assert command_line.run_folders() == [lab.run_folder]
    command_line.until_nothing_is_left(within_s=20.0)


def resumed_beside_a_stranger(command_line: CommandLine) -> Lab:
    """The lab of the newest run, resumed while somebody else listens where one of its hops did."""
    (folder,) = command_line.run_folders()
    before = json.loads((folder / "lab.json").read_text(encoding="utf-8"))["hops"]["views-gateway"]["listen"]
    host, _, port = before.rpartition(":")
    command_line.until_nothing_is_left(within_s=DEADLINE_S)
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # another stranger was faster
            stack.enter_context(socket.create_server((host, int(port))))
        command_line.run("up", "--resume", "latest", "--detach")
    lab = command_line.attach("lab")
    assert lab.description["hops"]["views-gateway"]["listen"] != before
    assert f"port {port} of views-gateway is taken" in said_by_the_lab(command_line)
    return lab


def said_by_the_lab(command_line: CommandLine) -> str:
    """What the detached lab has said so far."""
    return (command_line.folder / "storefleet-lab.log").read_text(encoding="utf-8")


def starts(command_line: CommandLine, name: str) -> int:
    """How often a process was started in the one run, by its journal."""
    files = [folder / "processes.jsonl" for folder in command_line.run_folders()]
    lines = [line for file in files if file.exists() for line in file.read_text(encoding="utf-8").splitlines()]
    return sum(row["name"] == name and "exit" not in row for row in map(json.loads, lines))


def starts_of_the_broker(command_line: CommandLine) -> int:
    """The first process of a lab."""
    return starts(command_line, "broker-1")


def starts_of_the_views(command_line: CommandLine) -> int:
    """The last stage that is started before the tills."""
    return starts(command_line, "views-1")


def times_ready(command_line: CommandLine) -> int:
    """How often a lab has begun to trade."""
    return command_line.output.count("ready in") if (command_line.folder / "output.txt").exists() else 0


SIGNS: tuple[Callable[[CommandLine], int], ...] = (starts_of_the_broker, starts_of_the_views, times_ready)


def test_a_lab_that_stands_still_loses_nothing(command_line: CommandLine) -> None:
    """While the lab is stopped everything else trades on; afterwards its stall is noted and the verdict is valid."""
    lab = command_line.up()
    lab.wait_for_trade()
    own = lab_process(command_line)
    own.signal(signal.SIGSTOP)
    time.sleep(PAUSE_S)  # it stands still for so long; nobody waits for anything
    own.signal(signal.SIGCONT)
    lab.wait_for_trade(total=lab.stage("emulator")["total"] + 40)
    processes = lab.status()["processes"]
    assert {name: process["restarts"] for name, process in processes.items()} == dict.fromkeys(processes, 0)
    assert lab.down()["validity"] == "valid"
    assert_no_gap(lab.run_folder)
    stalls = [stall for stall in plan(lab.run_folder)["stalls"] if stall["process"] == "lab"]
    assert max(stall["duration_ms"] for stall in stalls) > 0.8 * PAUSE_S * 1000


def test_what_cannot_go_on_is_refused(command_line: CommandLine, tmp_path: Path) -> None:
    """What stands in the way of going on with a run is said in one line, whether it is to detach or not."""
    lab = command_line.up()
    lab.wait_for_trade()
    assert "still lives" in refusal(command_line, lab.run_folder)
    assert "--rate cannot stand beside --resume" in refusal(command_line, lab.run_folder, "--rate", "10/s")
    assert "is no run folder" in refusal(command_line, tmp_path)
    own = lab_process(command_line)
    own.signal(signal.SIGTERM)
    until(lambda: not own.alive(), "the lab has ended in order")
    assert read_verdict(lab.run_folder)["validity"] == "valid"
    assert "has ended; its verdict stands" in refusal(command_line, "latest")


def refusal(command_line: CommandLine, run: object, *options: object) -> str:
    """The one line with which a run is refused."""
    said = {command_line.run("up", "--resume", run, *options, *more, status=2).stderr for more in ((), ("--detach",))}
    (line,) = said
    assert len(line.splitlines()) == 1
    return line
