"""A lab that is killed takes everything with it; what a worse crash leaves is reaped, and nobody else is touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from storefleet.process_identity import ProcessIdentity, identify
from tests.lab.command_line import CommandLine, Lab, until


def guardian_of(command_line: CommandLine) -> ProcessIdentity:
    """The process that ends everything when its lab dies."""
    (process_id,) = [number for number, command in command_line.leftovers().items() if "storefleet.guardian" in command]
    return identify(process_id)


def crash(command_line: CommandLine, lab: Lab) -> dict[str, ProcessIdentity]:
    """Kill the guardian, then the lab: nobody is left to tidy up. Returns what the lab had started."""
    processes = lab.identities()
    guardian_of(command_line).signal(signal.SIGKILL)
    until(lambda: not guardian_alive(command_line), "the guardian is dead")
    lab_process = processes.pop("lab")
    lab_process.signal(signal.SIGKILL)
    until(lambda: not lab_process.alive(), "the lab is dead")
    return processes


def guardian_alive(command_line: CommandLine) -> bool:
    """Whether any guardian of this home runs."""
    return any("storefleet.guardian" in command for command in command_line.leftovers().values())


def test_killing_the_lab_ends_every_child_at_once(command_line: CommandLine) -> None:
    """After kill -9 of the lab's own process, no process of it runs, the broker included."""
    lab = command_line.up()
    processes = lab.identities()
    assert "broker-1" in processes
    processes["lab"].signal(signal.SIGKILL)
    until(lambda: not any(one.alive() for one in processes.values()), "every recorded process ended", deadline_s=20.0)
    command_line.until_nothing_is_left(within_s=20.0)


def test_the_next_up_reaps_what_a_crash_left(command_line: CommandLine) -> None:
    """With guardian and lab killed, the broker lives on until the next up ends it and forgets the crashed lab."""
    crashed = crash(command_line, command_line.up(name="crashed"))
    assert crashed["broker-1"].alive()
    assert "crashed" in command_line.run("status", "--name", "crashed", status=2).stderr
    lab = command_line.up(name="next")
    assert not any(one.alive() for one in crashed.values())
    assert [path.name for path in (command_line.home / "labs").iterdir()] == ["next"]
    assert lab.status()["ready"]
    lab.wait_for_trade()
    assert lab.down()["validity"] == "valid"


def test_clean_ends_what_a_crash_left_and_only_that(command_line: CommandLine) -> None:
    """``clean`` ends the crashed lab's broker and leaves a live lab alone."""
    live = command_line.up(name="live")
    crashed = crash_beside(command_line, live)
    report = command_line.run("clean").stdout
    assert "crashed: ended broker-1" in report
    assert "live: runs, left alone" in report
    assert not any(one.alive() for one in crashed.values())
    assert live.status()["ready"]
    live.wait_for_trade()
    live.down()
    assert "nothing to clean" in command_line.run("clean").stdout


def crash_beside(command_line: CommandLine, live: Lab) -> dict[str, ProcessIdentity]:
    """Crash a second lab while the first one lives on."""
    first = guardian_of(command_line)
    lab = command_line.up(name="crashed")
    for process_id, command in command_line.leftovers().items():
        if "storefleet.guardian" in command and process_id != first.process_id:
            os.kill(process_id, signal.SIGKILL)
    processes = lab.identities()
    processes["lab"].signal(signal.SIGKILL)
    until(lambda: not processes["lab"].alive(), "the lab is dead")
    del processes["lab"]
    return processes


def test_a_reused_process_id_is_never_killed(command_line: CommandLine) -> None:
    """A process whose id stands in a crashed lab's record, with another start time, lives on."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as innocent:
        folder = command_line.home / "labs" / "crashed"
        folder.mkdir(parents=True)
        rows = [{"name": "lab", "process_id": innocent.pid, "started": "1"}]
        rows.append({"name": "broker-1", "process_id": innocent.pid, "started": "1"})
        (folder / "processes.json").write_text(json.dumps(rows), encoding="utf-8")
        assert "crashed: forgotten" in command_line.run("clean").stdout
        assert innocent.poll() is None
        assert not Path(folder).exists()
        innocent.kill()
