"""What had its whole deadline and got no outcome makes a run invalid; one that is cut short is unknown, accusing nobody."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path

import pytest

from tests.lab.command_line import CommandLine, Lab, places, until
from tests.lab.test_planted import FLEET, by_name


def faulty_lab(command_line: CommandLine, fault: str, *options: object) -> Lab:
    """A lab of nine terminals with one brand, whose PARM has a fault."""
    fleet = command_line.folder / "fleet.toml"
    fleet.write_text(FLEET.read_text(encoding="utf-8").replace("stores = 8", "stores = 3"), encoding="utf-8")
    command = shlex.join([sys.executable, str(Path(__file__).with_name("faulty_parm.py")), fault])
    return command_line.up("--fleet", fleet, "--stage", f"parm={command}", *options)


@pytest.mark.parametrize(
    ("options", "status", "validity", "reasons"),
    [
        (["--deadline", "5s"], 1, "invalid", (["no_outcome"], [])),
        (["--deadline", "90s", "--drain", "1s"], 3, "unknown", ([], ["aborted"])),
    ],
)
def test_swallowed_events(
    command_line: CommandLine, options: list[str], status: int, validity: str, reasons: tuple[list[str], list[str]]
) -> None:
    """A PARM that acknowledges and drops one event of each terminal is found, unless the run is cut short."""
    lab = faulty_lab(command_line, "swallow", *options)
    until(lambda: lab.stage("emulator")["total"] >= 90, "every terminal has sold its victim")
    verdict = lab.down(status=status)
    assert verdict["validity"] == validity
    assert verdict["counts"]["never_read"] == 9
    assert tuple([reason["code"] for reason in verdict[kind]] for kind in ("invalid", "unknown")) == reasons
    assert {name.rpartition(".")[2] for name in by_name(verdict, "never_read")} == {"4"}
    assert all("parm" in address for address in places(verdict, "never_read"))


def test_closing_the_tills_hides_nothing_that_had_its_whole_deadline(command_line: CommandLine) -> None:
    """The same PARM: the tills were open for the deadline of what it swallowed, and close for the end of the run."""
    lab = faulty_lab(command_line, "swallow", "--deadline", "3s", "--drain", "1s")
    until(lambda: lab.stage("emulator")["total"] >= 90, "every terminal has sold its victim")
    time.sleep(3.5)
    command_line.run("trade", "--name", lab.name, "--close", "*")
    verdict = lab.down(status=1)
    assert "no_outcome" in {reason["code"] for reason in verdict["invalid"]}
    assert verdict["counts"]["never_read"] >= 9


def test_what_comes_after_the_reads_is_not_lost(command_line: CommandLine) -> None:
    """A PARM that holds events back until the views have been read makes them late, or unanswered, and nobody lost them."""
    lab = faulty_lab(command_line, "hold", "--deadline", "3s")
    until(lambda: lab.stage("emulator")["total"] >= 90, "every terminal has sold its victim")
    verdict = lab.down(status=1)
    assert "lost" not in verdict["classes"], verdict["classes"]
    assert verdict["counts"]["stale"] + verdict["counts"]["never_read"] == 9
    for name in verdict["classes"].keys() & {"stale", "never_read"}:
        assert {key.rpartition(".")[2] for key in by_name(verdict, name)} == {"4"}
        assert all("parm" in address for address in places(verdict, name))
