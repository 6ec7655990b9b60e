"""After a valid run the folder takes at most a kilobyte an event, and says all that it said; any other keeps everything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from storefleet.verdict.slimming import slim
from tests.lab.command_line import CommandLine, read_verdict
from tests.verdict.told_run import told

BASE_BYTES = 256 * 1024
BYTES_PER_EVENT = 1_000
BYTES_PER_TERMINAL = 500
TERMINALS_PER_STORE = 3
EVENTS = 1_500
REJECTED = (
    "SELECT id, first FROM outcome JOIN source ON number = source WHERE verdict = 'rejected' ORDER BY first LIMIT 5"
)
STATE = "gateway-1/gateway.sqlite"


def size_bytes(folder: Path) -> int:
    """Of all that lies in it."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_valid_run_is_slimmed(command_line: CommandLine) -> None:
    """Small, the same verdict, journeys of its events, plants found in it, and not to be gone on with."""
    lab = command_line.up(stores=6, rate="0/s")
    lab.burst(EVENTS)
    assert lab.down()["validity"] == "valid"
    folder = lab.run_folder
    assert size_bytes(folder) <= BASE_BYTES + BYTES_PER_EVENT * EVENTS + BYTES_PER_TERMINAL * 6 * TERMINALS_PER_STORE
    seal = json.loads((folder / "plan.json").read_text(encoding="utf-8"))["seal"]["slimmed"]
    assert f"state/{STATE}" in seal["dropped"]
    assert not (folder / "state").exists()
    assert command_line.json("verdict", folder) == read_verdict(folder)
    ((source, sequence),) = lab.ledger("SELECT id, sequence FROM event JOIN source ON number = source LIMIT 1")
    assert "committed, handed on" in command_line.run("trace", "--run", folder, f"{source}.{sequence}").stdout
    assert "journey of" in command_line.run("trace", "--run", folder, "--last").stdout
    assert "ended as asked" in command_line.run("log", folder).stdout
    assert "60 of 60 found" in command_line.run("selftest", folder, "--plants", 60).stdout
    assert "has ended" in command_line.run("up", "--resume", folder, status=2).stderr
    (folder / "lab.json").unlink()
    assert "lab.json is gone" in command_line.run("verdict", folder, status=3).stdout


def test_slimming_takes_nothing_from_what_a_run_tells(command_line: CommandLine) -> None:
    """A run with kills, closings and bad input, whole and slimmed: the same to the byte for a sample of its events."""
    lab = command_line.up("--malformed", "0.05", "--repeated", "0.05", "--keep", "all", stores=6, rate="60/s")
    lab.wait_for_trade(total=150)
    lab.kill("parm-1")
    command_line.run("trade", "--name", lab.name, "--close", "taco.*")
    lab.wait_for_trade(total=400)
    command_line.run("wait", "--name", lab.name, "--converged", "--timeout", "60s")
    verdict = lab.down()
    assert (lab.run_folder / "state" / STATE).stat().st_size > 50_000, "--keep all keeps it"
    rows = lab.ledger("SELECT id, sequence FROM event JOIN source ON number = source ORDER BY event.rowid")
    keys = [f"{source}.{sequence}" for source, sequence in [*rows[::20], rows[-1]]]
    keys += [f"{source}.{first}" for source, first in lab.ledger(REJECTED)]
    before, before_bytes = told(lab.run_folder, keys), size_bytes(lab.run_folder)
    assert slim(lab.run_folder) is not None
    after = told(lab.run_folder, keys)
    for what, said in before.items():
        assert after[what] == said, what
    assert verdict["rejected_by_reason"]
    assert size_bytes(lab.run_folder) <= before_bytes / 3


def test_a_run_that_is_not_valid_keeps_everything(command_line: CommandLine) -> None:
    """Here a budget is exceeded; whoever looks for the reason finds every stage's state."""
    lab = command_line.up("--malformed", "0.2", "--allow", "dead-letters=0", rate="0/s")
    lab.burst(60)
    assert lab.down(status=1)["validity"] == "invalid"
    assert (lab.run_folder / "state" / STATE).exists()
    assert {"witnesses.jsonl", "journeys.json", "reads.json"} <= {path.name for path in lab.run_folder.iterdir()}
    assert json.loads((lab.run_folder / "plan.json").read_text(encoding="utf-8"))["seal"]["slimmed"] is None


@pytest.mark.parametrize("command", ["up", "demo"])
def test_what_to_keep_is_one_of_two(command_line: CommandLine, command: str) -> None:
    """Anything else is refused before anything starts."""
    said = command_line.run(command, "--keep", "some", status=2).stderr
    assert said == "storefleet: --keep 'some': expected slim or all\n"
    assert command_line.run_folders() == []
