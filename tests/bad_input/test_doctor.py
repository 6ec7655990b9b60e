"""``doctor`` and ``clean`` tell what is, what is wrong, and what to do."""

from __future__ import annotations

import os
import re
import signal

from tests.lab.command_line import CommandLine, until


def test_a_fit_machine(command_line: CommandLine) -> None:
    """Every check is named, by doctor and doctor --json alike, and the number of terminals that fit is told."""
    found = {finding["check"]: finding for finding in command_line.json("doctor")}
    assert list(found) == ["python", "mosquitto", "descriptors", "ports", "disk", "memory",
                           "processors", "labs", "standstills"]  # fmt: skip
    assert "terminals fit here" in found["descriptors"]["found"]
    lines = command_line.run("doctor").stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [["ok", check] for check in found]


def test_a_crashed_lab_is_seen_and_cleaned(command_line: CommandLine) -> None:
    """After kill -9 of a lab, doctor names it and clean forgets it; one that runs is left alone."""
    assert command_line.run("clean").stdout == "nothing to clean\n"
    living = command_line.up(stores=2, name="living")
    crashed = command_line.up(stores=2, name="crashed")
    identity = crashed.identities()["lab"]
    os.kill(identity.process_id, signal.SIGKILL)
    until(lambda: not identity.alive(), "the lab is gone")
    line = command_line.run("status", "--name", "crashed", status=2).stderr
    assert "not running any more" in line
    assert "storefleet clean" in line
    labs = next(finding for finding in command_line.json("doctor", status=2) if finding["check"] == "labs")
    assert "crashed (crashed)" in labs["found"]
    assert "storefleet clean" in labs["advice"]
    report = command_line.json("clean")
    assert "crashed: forgotten" in report
    assert "living: runs, left alone" in report
    living.wait_for_trade()
    assert living.down()["validity"] == "valid"
    assert command_line.run("doctor").returncode == 0


def test_doctor_and_up_refuse_the_same_fleet(command_line: CommandLine) -> None:
    """A fleet that is asked for is examined with the numbers by which ``up`` refuses it."""
    fleet = ("--stores", 100_000, "--terminals-per-store", 99)
    found = {finding["check"]: finding for finding in command_line.json("doctor", *fleet, status=2)}
    assert not found["memory"]["ok"]
    assert "for 9,900,000 terminals" in found["memory"]["advice"]
    fits = r"[\d,]+ MB .*free: ([\d,]+) terminals fit"
    refused = command_line.run("up", *fleet, status=2).stderr
    (told,), (said,) = re.findall(fits, found["memory"]["found"]), re.findall(fits, refused)
    assert abs(int(told.replace(",", "")) - int(said.replace(",", ""))) < 50_000  # what is free is not quite the same
