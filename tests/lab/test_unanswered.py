"""What had its whole deadline and got no outcome makes a run invalid; one that is cut short is unknown, accusing nobody."""

from __future__ import annotations

import time

import pytest

from tests.lab.command_line import CommandLine, Lab, assert_told_first, places, until
from tests.lab.test_lateness import rows
from tests.lab.test_planted import BURST, by_name, faulty_lab, terminals

VICTIM = 4
"""Number of each terminal's event that ``faulty_parm.py`` spoils."""


def traded_lab(command_line: CommandLine, fault: str, *options: object) -> tuple[Lab, set[str]]:
    """A lab whose PARM has a fault, and its victims; by now every event but these has its outcome, and is in each view."""
    lab = faulty_lab(command_line, fault, *options)
    lab.burst(BURST)
    victims = {(source, VICTIM) for source in terminals(lab)}
    assert len(victims) == 9
    lab.until_unresolved(*victims)
    sales = lab.run_folder / "state" / "views-1" / "sales.sqlite"
    until(lambda: rows(sales, "SELECT count(*) FROM applied") == [(BURST - len(victims),)], "sales has all others")
    return lab, {f"{source}.{number}" for source, number in victims}


@pytest.mark.parametrize(
    ("options", "status", "validity", "reasons"),
    [
        (["--deadline", "6s"], 1, "invalid", (["no_outcome"], [])),
        (["--deadline", "90s", "--drain", "1s"], 3, "unknown", ([], ["aborted"])),
    ],
)
def test_swallowed_events(
    command_line: CommandLine, options: list[str], status: int, validity: str, reasons: tuple[list[str], list[str]]
) -> None:
    """A PARM that acknowledges and drops one event of each terminal is found, unless the run is cut short."""
    lab, victims = traded_lab(command_line, "swallow", *options)
    verdict = lab.down(status=status)
    assert verdict["validity"] == validity
    assert verdict["counts"]["never_read"] == 9
    assert tuple([reason["code"] for reason in verdict[kind]] for kind in ("invalid", "unknown")) == reasons
    assert by_name(verdict, "never_read").keys() == victims
    assert all("parm" in address for address in places(verdict, "never_read"))
    first = (
        f"INVALID  {lab.name}: 9 of 90 events without an outcome, "
        if status == 1
        else f"UNKNOWN  {lab.name}: no failure "
    )
    assert_told_first(lab, first, "suspect: parm (yours)", victims)


def test_closing_the_tills_hides_nothing_that_had_its_whole_deadline(command_line: CommandLine) -> None:
    """The same PARM: the tills were open for the deadline of what it swallowed, and close for the end of the run."""
    lab, victims = traded_lab(command_line, "swallow", "--deadline", "3s", "--drain", "1s")
    time.sleep(3.5)  # the deadline of what was swallowed, with every till open
    command_line.run("trade", "--name", lab.name, "--close", "*")
    verdict = lab.down(status=1)
    assert "no_outcome" in {reason["code"] for reason in verdict["invalid"]}
    assert by_name(verdict, "never_read").keys() == victims


def test_what_comes_after_the_reads_is_not_lost(command_line: CommandLine) -> None:
    """A PARM that holds events back until the views have been read makes them late, or unanswered, and nobody lost them."""
    lab, victims = traded_lab(command_line, "hold", "--deadline", "5s")
    verdict = lab.down(status=1)
    assert "lost" not in verdict["classes"], verdict["classes"]
    assert verdict["counts"]["stale"] + verdict["counts"]["never_read"] == 9
    found = verdict["classes"].keys() & {"stale", "never_read"}
    assert {key for name in found for key in by_name(verdict, name)} == victims
    assert all("parm" in address for name in found for address in places(verdict, name))
