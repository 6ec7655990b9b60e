"""Labs that end by themselves, after so many events or after a time: what is traded, what is said, and how they end."""

from __future__ import annotations

import json
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.lab.command_line import CommandLine, Lab, read_verdict, until

WANTED = 241
FLEET = ("--stores", 3, "--seed", 7, "--events", WANTED, "--keep", "all")
CONTENT = (
    "SELECT id, sequence, type, hash, business_day_date, amount_cents FROM event JOIN source ON number = source"
    " ORDER BY id, sequence"
)


def ledger(folder: Path, query: str) -> list[tuple[Any, ...]]:
    """Rows of a run's ledger."""
    with closing(sqlite3.connect(f"file:{folder / 'ledger.sqlite'}?mode=ro", uri=True)) as database:
        return database.execute(query).fetchall()


def plan(folder: Path) -> dict[str, Any]:
    """``plan.json`` of a run folder."""
    found: dict[str, Any] = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    return found


def sales_of(folder: Path) -> list[tuple[str, str, int, int]]:
    """What the sales view showed at the end: store, business day, how many, cents."""
    reads = json.loads((folder / "reads.json").read_text(encoding="utf-8"))
    return sorted(tuple(row) for row in reads["views"]["sales"]["totals"])


def trading_s(folder: Path) -> float:
    """How long the run has traded."""
    spans = [phase["until_ms"] - phase["from_ms"] for phase in plan(folder)["phases"] if phase["name"] == "trading"]
    return sum(spans) / 1000


def whole_run(command_line: CommandLine, *options: object) -> Path:
    """A lab that ends by itself with a valid verdict of exactly WANTED events; its run folder."""
    command_line.run("up", *FLEET, "--runs", command_line.runs, *options)
    folder = command_line.run_folders()[-1]
    assert_whole(folder)
    return folder


def assert_whole(folder: Path) -> None:
    """Exactly so many events, judged valid, and nobody has interrupted the run."""
    assert (read_verdict(folder)["validity"], read_verdict(folder)["sent"]) == ("valid", WANTED)
    assert len(ledger(folder, CONTENT)) == WANTED
    assert (plan(folder)["interrupted"], plan(folder)["aborted"]) == (False, False)


def test_the_same_totals_whatever_the_rate_and_whoever_dies(command_line: CommandLine) -> None:
    """One seed and one number of events: the same content and the same sales of every store, at a tenth of the rate, at
    another pace of the business clock, and with emulator and lab killed on the way."""
    fast = whole_run(command_line, "--rate", "1000/s", "--name", "a-fast")
    slow = whole_run(command_line, "--rate", "100/s", "--time-scale", 600, "--name", "b-slow")
    broken = killed_and_resumed(command_line)
    assert ledger(fast, CONTENT) == ledger(slow, CONTENT) == ledger(broken, CONTENT)
    assert sales_of(fast) == sales_of(slow) == sales_of(broken)
    assert sum(cents for *_, cents in sales_of(fast)) == sum(row[-1] for row in ledger(fast, CONTENT)) > 0


def killed_and_resumed(command_line: CommandLine) -> Path:
    """The run of a lab whose emulator is killed, and then the lab itself; the next lab ends by itself."""
    command_line.run("up", *FLEET, "--runs", command_line.runs, "--rate", "30/s", "--name", "c-dies", "--detach")
    lab = command_line.attach("c-dies")
    lab.wait_for_trade(total=30)
    lab.kill("emulator-1")
    lab.wait_for_trade(total=60)
    own = lab.identities()["lab"]
    own.signal(signal.SIGKILL)
    until(lambda: not own.alive(), "the lab is dead")
    command_line.until_nothing_is_left(within_s=30.0)
    assert lab.committed() < WANTED
    command_line.run("up", "--resume", lab.run_folder)
    assert_whole(lab.run_folder)
    return lab.run_folder


def test_a_time_ends_a_detached_lab(command_line: CommandLine) -> None:
    """It trades so long after it is ready, answers meanwhile, and leaves its verdict and no process."""
    lab = command_line.up("--for", "4s")
    command_line.run("wait", "--ready")
    assert "s of trading left" in lab.status()["picture"]["waiting"]
    command_line.until_nothing_is_left(within_s=60.0)
    assert read_verdict(lab.run_folder)["validity"] == "valid"
    assert plan(lab.run_folder)["interrupted"] is False
    assert 4.0 <= trading_s(lab.run_folder) < 12.0
    said = command_line.run("down", "--name", "lab", status=2).stderr
    assert "no lab named lab" in said
    assert "storefleet verdict" in said


def test_a_time_counts_what_the_killed_lab_has_traded(command_line: CommandLine) -> None:
    """A run that goes on trades the rest of its time, not all of it again."""
    lab = command_line.up("--for", "6s")
    until(lambda: int(waiting(lab).partition(" s of trading left")[0] or 9) <= 3, "half of the time is over")
    own = lab.identities()["lab"]
    own.signal(signal.SIGKILL)
    until(lambda: not own.alive(), "the lab is dead")
    command_line.until_nothing_is_left(within_s=30.0)
    command_line.run("up", "--resume", lab.run_folder)
    assert read_verdict(lab.run_folder)["validity"] == "valid"
    *_, last = [phase for phase in plan(lab.run_folder)["phases"] if phase["name"] == "trading"]
    assert last["until_ms"] - last["from_ms"] < 5_500


@pytest.mark.parametrize(
    ("ends", "first"),
    [
        (("--for", "2s", "--events", 100_000), r"the time to trade is over, "),
        (("--for", "10m", "--events", 40), "all events are traded"),
    ],
)
def test_whichever_comes_first(command_line: CommandLine, ends: tuple[object, ...], first: str) -> None:
    """A time and a number together: the first that is reached ends the run, and is named."""
    done = command_line.run("up", "--stores", 3, "--rate", "40/s", "--runs", command_line.runs, *ends)
    assert first in done.stdout
    (folder,) = command_line.run_folders()
    sent = read_verdict(folder)["sent"]
    assert sent == 40 if "10m" in ends else 0 < sent < 100_000


def test_what_keeps_the_events_back_is_told(command_line: CommandLine) -> None:
    """While nothing can be traded the lab says why; it ends when all are traded after all, by a burst as well."""
    lab = command_line.up("--events", 300)
    command_line.run("trade", "--close", "*")
    until(lambda: "every store is closed" in waiting(lab), "it says that nobody can trade")
    command_line.run("trade", "--rate", 0)
    command_line.run("trade", "--open", "*")
    until(lambda: "nothing is offered" in waiting(lab), "it says that nothing is to be traded")
    assert f"{lab.committed()} of 300 events are traded" in waiting(lab)
    command_line.run("trade", "--burst", 5_000)
    command_line.until_nothing_is_left(within_s=60.0)
    assert (read_verdict(lab.run_folder)["validity"], lab.committed()) == ("valid", 300)


def waiting(lab: Lab) -> str:
    """What the lab waits for."""
    return str(lab.status()["picture"]["waiting"])


def test_one_event_is_enough(command_line: CommandLine) -> None:
    """The smallest number there is, detached: ready is seen, and the lab ends."""
    lab = command_line.up("--events", 1, rate="1000/s")
    command_line.until_nothing_is_left(within_s=60.0)
    assert (read_verdict(lab.run_folder)["validity"], lab.committed()) == ("valid", 1)


def test_programs_read_standard_output_and_people_standard_error(command_line: CommandLine) -> None:
    """``--json``: the same last line of ``up`` and of ``down``, and nothing else but lab.json; progress stands beside it."""
    up = ("up", "--stores", 3, "--rate", "40/s", "--name", "lab", "--runs", "runs", "--events", 100_000, "--json")
    with command_line.running(*up) as process:
        until(lambda: "of 100,000 events are traded" in command_line.errors, "progress is told")
        down = command_line.run("down", "--json")
        assert process.wait() == 0
    described, ended = command_line.output.splitlines()
    assert json.loads(described)["name"] == "lab"
    assert down.stdout == ended + "\n"
    found = json.loads(ended)
    assert list(found) == ["run_folder", "exit_status", "verdict"]
    assert (found["exit_status"], found["verdict"]) == (0, read_verdict(Path(found["run_folder"])))
    assert plan(Path(found["run_folder"]))["interrupted"] is True
    said = command_line.errors
    assert said.index("; starting") < said.index("ready in ") < said.index("] trading: ")
    assert "Traceback" not in said


def test_a_detached_lab_in_json(command_line: CommandLine) -> None:
    """``up --detach --json`` prints lab.json alone; its lab's log has the last line too."""
    started = command_line.run(
        "up", "--stores", 2, "--runs", "runs", "--name", "lab", "--events", 30, "--json", "--detach"
    )
    assert json.loads(started.stdout)["name"] == "lab"
    command_line.until_nothing_is_left(within_s=60.0)
    log = (command_line.folder / "storefleet-lab.log").read_text(encoding="utf-8")
    (ended,) = [json.loads(line) for line in log.splitlines() if line.startswith('{"run_folder"')]
    assert (ended["exit_status"], ended["verdict"]["sent"]) == (0, 30)
