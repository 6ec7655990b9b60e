"""A command's status never depends on who reads its output; what could not be written is said in one line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.endings.ended import run_into_a_pipe, run_with, without_asides
from tests.lab.command_line import CommandLine, Lab, until

NOT_WRITTEN = "storefleet: standard output could not be written: "
FULL = f"{NOT_WRITTEN}No space left on device\n"
CLOSED = f"{NOT_WRITTEN}it is closed\n"
RUN = "RUN"
COMMANDS = [
    # what is asked, its status
    (("--help",), 0),
    (("trace", "--help"), 0),
    (("verdict", RUN), 0),
    (("verdict", RUN, "--json"), 0),
    (("verdict", RUN, "--allow", "dead-letters=0"), 1),
    (("verdict", RUN, "--allow", "dead-letters=0", "--json"), 1),
    (("log", RUN), 0),
    (("log", RUN, "--json"), 0),
    (("clean",), 0),
    (("doctor",), 0),
    (("selftest", RUN, "--plants", 3), 0),
]
UNWRITTEN = [
    # one of each manner: what shows, what answers, what judges; and its status where output cannot be written
    (("--help",), 3),
    (("log", RUN), 3),
    (("clean",), 0),
    (("verdict", RUN), 0),
    (("verdict", RUN, "--allow", "dead-letters=0", "--json"), 1),
]


@pytest.mark.parametrize(("asked", "status"), COMMANDS)
def test_whoever_reads(command_line: CommandLine, run_folder: Path, asked: tuple[object, ...], status: int) -> None:
    """A reader who goes after a line changes no status, and nothing is said."""
    first = run_into_a_pipe(command_line, *_words(asked, run_folder), lines=1)
    assert (first.status, first.errors) == (status, "")
    assert first.output


@pytest.mark.parametrize(("asked", "status"), UNWRITTEN)
def test_what_cannot_be_written(
    command_line: CommandLine, run_folder: Path, asked: tuple[object, ...], status: int
) -> None:
    """Full disks and closed descriptors are said in a line, where anybody hears it."""
    words = _words(asked, run_folder)
    assert run_with(command_line, ">/dev/full", *words) == (status, "", FULL)
    assert run_with(command_line, ">&-", *words) == (status, "", CLOSED)
    assert run_with(command_line, "<&- >&- 2>&-", *words) == (status, "", "")


def _words(asked: tuple[object, ...], run_folder: Path) -> list[object]:
    return [run_folder if word == RUN else word for word in asked]


def test_a_reader_who_goes_before_anything_is_written(command_line: CommandLine, run_folder: Path) -> None:
    """And one who reads while nobody hears the errors."""
    unread = run_into_a_pipe(command_line, "verdict", run_folder, "--allow", "dead-letters=0", lines=0)
    assert (unread.status, unread.errors) == (1, "")
    whole = run_with(command_line, "<&- 2>&-", "verdict", run_folder)
    assert (whole.status, whole.output.startswith("VALID ")) == (0, True)


def test_what_did_not_begin(command_line: CommandLine) -> None:
    """An error keeps its status where nobody hears it."""
    for redirections in ("2>&-", "2>/dev/full", ">&- 2>&-"):
        assert run_with(command_line, redirections, "verdict", "/no/such/run") == (2, "", "")
    assert run_into_a_pipe(command_line, "trace", "--run", "/no/such/run", "--last", lines=0).status == 2


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab that goes on."""
    command_line = CommandLine(tmp_path_factory.mktemp("living"))
    yield command_line.up(name="living", rate="10/s")
    command_line.end_leftovers()


@pytest.mark.parametrize(
    "asked",
    [("status",), ("status", "--json"), ("trace", "--last"), ("wait", "--ready"), ("trade", "--rate", "30/s"),
     ("tail", "--count", 3), ("tail",), ("tail", "--json")],
)  # fmt: skip
def test_a_lab_that_runs(living: Lab, asked: tuple[object, ...]) -> None:
    """``tail`` has no end of its own: a reader who goes ends it, also where no further message comes."""
    living.wait_for_trade()
    first = run_into_a_pipe(living.command_line, *asked, lines=1)
    assert (first.status, first.errors) == (0, "")
    assert first.output


@pytest.mark.parametrize(("asked", "status"), [(("status",), 3), (("wait", "--ready"), 0), (("tail",), 3)])
def test_what_a_lab_that_runs_cannot_write(living: Lab, asked: tuple[object, ...], status: int) -> None:
    """As with recorded runs; ``tail`` ends instead of going on for nobody."""
    living.wait_for_trade()
    assert run_with(living.command_line, ">/dev/full", *asked) == (status, "", FULL)
    assert run_with(living.command_line, ">&-", *asked) == (status, "", CLOSED)


def test_a_reader_who_goes_while_nothing_matches(living: Lab) -> None:
    """Nothing is ever written, so that no write can tell."""
    unread = run_into_a_pipe(living.command_line, "tail", "no/such/topic/#", lines=0)
    assert (unread.status, unread.errors) == (0, "")


def test_a_socket_whose_other_end_is_closed(living: Lab) -> None:
    """As with a pipe: nobody is left who misses it."""
    words = "import socket, subprocess, sys; ours, theirs = socket.socketpair(); done = subprocess.Popen("
    words += "sys.argv[1:], stdout=theirs); theirs.close(); ours.close(); sys.exit(done.wait())"
    command = [sys.executable, "-c", words, *living.command_line._words(("tail",))]
    done = subprocess.run(
        command, cwd=living.command_line.folder, env=living.command_line.environment, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, without_asides(done.stderr)) == (0, "")


def test_a_filter_that_is_none(living: Lab) -> None:
    """One line before anything; a broker would close the connection, for ever."""
    done = living.command_line.run("tail", "a/#/b", status=2)
    errors = without_asides(done.stderr)
    assert (done.stdout, errors.count("\n")) == ("", 1)
    assert "# stands only at the end" in errors


def test_a_verdict_on_a_lab_that_runs(living: Lab) -> None:
    """It is not judged by half of its evidence; neither is the self-test played with it."""
    for command in ("verdict", "selftest"):
        done = living.command_line.run(command, living.run_folder, status=3)
        still_runs = (
            f"storefleet: {living.run_folder}: its lab still runs, the verdict comes at its end: storefleet down"
        )
        assert (done.stdout, without_asides(done.stderr)) == ("", f"{still_runs}; until then: status\n")


def test_a_lab_that_ends_ends_its_tail(living: Lab) -> None:
    """The last test of this lab: who looked on is told that it has ended; who wanted more messages does not know."""
    with (
        living.command_line.running("tail") as looking,
        living.command_line.running("tail", "no/such/topic/#", "--count", 2) as counting,
    ):
        until(lambda: "no message of filter" in living.command_line.errors, "it says that nothing matches")
        assert living.description["topic_root"] + "/" in living.command_line.errors
        assert living.down()["validity"] == "valid"
        assert (looking.wait(60), counting.wait(60)) == (0, 3)
    assert living.command_line.errors.count("lab living has ended\n") == 2
    assert "storefleet: lab living has ended; 0 of 2 messages were shown\n" in living.command_line.errors
