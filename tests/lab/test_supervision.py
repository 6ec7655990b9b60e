"""Any process of a lab may be killed: it comes back, that is counted, and nothing is lost or doubled."""

from __future__ import annotations

import json

from tests.lab.command_line import CommandLine, places

STAGES = ("parm", "sync_stage", "gateway", "poseidon", "olympus_dgs", "views", "chaos", "emulator", "broker")
PROCESSES = tuple(f"{stage}-1" for stage in STAGES)


def test_every_process_comes_back_and_the_verdict_stays_valid(command_line: CommandLine) -> None:
    """After kill -9 of each process in turn, each was restarted once and the verdict is valid."""
    lab = command_line.up(stores=4)
    lab.wait_for_trade()
    for name in PROCESSES:
        lab.kill(name)
    command_line.run("wait", "--converged", "--timeout", "90s")
    processes = lab.status()["processes"]
    assert {name: process["restarts"] for name, process in processes.items()} == dict.fromkeys(PROCESSES, 1)
    assert {process["last_exit"] for process in processes.values()} == {"signal SIGKILL"}
    log = [json.loads(line) for line in command_line.run("log", "--json").stdout.splitlines()]
    for kind, text in (("end", "signal SIGKILL"), ("restart", "after signal SIGKILL")):
        assert [(one["who"], one["text"]) for one in log if one["kind"] == kind] == [(name, text) for name in PROCESSES]
    bad = command_line.run("log", "--troubles").stdout
    assert all(f"{name:<17}  started again: after signal SIGKILL" in bad for name in PROCESSES)
    assert "phase" not in bad
    troubles = lab.status()["troubles"]
    assert [one for one in troubles if one.startswith("broker-1: started again once, last ")]
    verdict = lab.down()
    assert verdict["validity"] == "valid"
    assert not places(verdict, "lost")
