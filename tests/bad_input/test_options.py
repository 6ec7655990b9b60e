"""A wrong option is refused in one line that names the option, what was given, and what is expected."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.bad_input.refusal import refusal
from tests.lab.command_line import CommandLine


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("up", "--rate", "fast"), ("--rate 'fast'", "200/s")),
        (("up", "--rate", "200/fortnight"), ("--rate '200/fortnight'", "600/min")),
        (("up", "--rate", "nan"), ("--rate 'nan'", "200/s", "to 100,000/s")),
        (("up", "--rate", "1e9/s"), ("--rate 1e9/s: at most 100,000/s",)),
        (("trade", "--rate", "99999999/s"), ("--rate 99999999/s: at most 100,000/s",)),
        (("up", "--stores", "1_0"), ("--stores '1_0': expected a whole number from 1 to 100,000",)),
        (("demo", "--stores", "0"), ("--stores 0: at least 1",)),
        (("up", "--terminals-per-store", "100"), ("--terminals-per-store 100: at most 99",)),
        (("up", "--port", "70000"), ("--port 70000: at most 65535",)),
        (("up", "--deadline", "0s"), ("--deadline 0s: at least 0.1 s",)),
        (("up", "--malformed", "2"), ("--malformed 2.0: expected a number from 0 to 1",)),
        (("up", "--without", "parmm"), ("--without 'parmm'", "did you mean 'parm'?")),
        (("up", "--stage", "prm=cat"), ("--stage 'prm'", "did you mean 'parm'?")),
        (("up", "--instances", "sync-stge=2"), ("did you mean 'sync_stage'?",)),
        (("up", "--allow", "heald=0"), ("--allow 'heald'", "did you mean 'healed'?")),
        (("bench", "--only", "pipline"), ("--only 'pipline'", "did you mean 'pipeline'?")),
        (("rebuild", "store-bord"), ("'store-bord'", "did you mean 'store_board'?")),
        (("rebuild", "weather"), ("there are store_board, sales, device_inventory",)),
        (("statsu",), ("statsu", "status", "storefleet --help")),
        (("up", "--allow", "healed"), ("--allow 'healed'", "healed=0", "dead-letters")),
        (("demo", "--allow", "sorrows=1"), ("--allow 'sorrows'", "healed, restarts")),
        (("up", "--time-scale", "nan"), ("--time-scale nan", "0.01 to 100000")),
        (("up", "--time-scale", "often"), ("--time-scale", "storefleet up --help")),
        (("up", "--name", "My Lab"), ("--name 'My Lab'", "a-z, 0-9 and dash")),
        (("up", "--name", "../escape"), ("--name '../escape'", "a-z, 0-9 and dash")),
        (("up", "--without", "till"), ("--without 'till'", "poseidon")),
        (("up", "--stage", "parm"), ("--stage 'parm'", "NAME=COMMAND")),
        (("up", "--stage", "parm='open"), ("--stage", "quotation")),
        (("up", "--stage", "parm=cat", "--without", "parm"), ("--stage 'parm=cat'", "left out by --without")),
        (("up", "--instances", "parm=0"), ("--instances 'parm=0'", "1 to 16")),
        (("up", "--instances", "gateway=2"), ("--instances 'gateway=2'", "only parm, sync_stage")),
        (("up", "--instances", "till=2"), ("--instances 'till'", "parm")),
        (("up", "--stores", "many"), ("--stores", "storefleet up --help")),
        (("up", "--port", "70000"), ("--port", "65535")),
        (("up", "--bogus"), ("--bogus", "storefleet up --help")),
        (("frobnicate",), ("frobnicate", "storefleet --help")),
        (("wait",), ("--ready or --converged",)),
        (("wait", "--ready", "--timeout", "soon"), ("--timeout 'soon'", "60s")),
        (("down",), ("no lab is running", "storefleet up")),
        (("down", "--name", "gone"), ("no lab named gone", "none")),
        (("status",), ("no lab is running", "storefleet up")),
        (("trace",), ("a key or --last",)),
        (("trace", "--last"), ("no lab is running", "storefleet up")),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else None,
)
def test_wrong_option(command_line: CommandLine, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    """What is wrong, where, and what to do instead are in the one line."""
    line = refusal(command_line, *arguments)
    assert all(word in line for word in words), line


def test_a_port_taken(command_line: CommandLine) -> None:
    """A port that somebody listens on is named, and another one is advised."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = refusal(command_line, "up", "--stores", 2, "--port", port)
    assert f"--port {port}" in line
    assert "choose another port" in line


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("/nowhere/my-parm --fast", ("parm-1", "/nowhere/my-parm", "No such file")),
        ("false", ("parm-1", "ended at once", "exit status 1")),
        ("sh -c 'echo no licence found >&2; exit 3'", ("parm-1", "exit status 3", "no licence found")),
    ],
)
def test_a_stage_that_does_not_start(command_line: CommandLine, command: str, words: tuple[str, ...]) -> None:
    """A user's command that cannot run or ends at once: its name, how it ended, and the last that it said."""
    line = refusal(command_line, "up", "--stores", 2, "--stage", f"parm={command}")
    assert all(word in line for word in words), line


def test_a_runs_folder_that_cannot_be_written(command_line: CommandLine, tmp_path: Path) -> None:
    """A file where the folder for runs should be is named, with the option that names another."""
    (tmp_path / "occupied").write_text("", encoding="utf-8")
    for place in ("occupied", "occupied/below"):
        line = refusal(command_line, "up", "--stores", 2, "--runs", place)
        assert f"into {place}: " in line
        assert "--runs DIR" in line


def test_a_home_that_cannot_be_made(command_line: CommandLine, tmp_path: Path) -> None:
    """A file where the home should be is named, with the variable that names another."""
    (tmp_path / "occupied").write_text("", encoding="utf-8")
    command_line.home = tmp_path / "occupied"
    command_line.environment["STOREFLEET_HOME"] = str(tmp_path / "occupied")
    assert "set STOREFLEET_HOME" in refusal(command_line, "up", "--stores", 2)


def test_a_name_in_use(command_line: CommandLine) -> None:
    """Two labs of one name cannot be: the second is refused, the first goes on, and ends valid."""
    lab = command_line.up(stores=2, name="twice")
    done = command_line.run("up", "--stores", 2, "--name", "twice", "--runs", command_line.runs, status=2)
    assert len(done.stderr.splitlines()) == 1
    assert "a lab named twice exists" in done.stderr
    assert "storefleet down --name twice" in done.stderr
    assert len(command_line.run_folders()) == 1
    lab.wait_for_trade()
    assert lab.down()["validity"] == "valid"


def test_a_detached_lab_says_why_it_did_not_begin(command_line: CommandLine, tmp_path: Path) -> None:
    """With --detach the one line comes out just the same, and so it does where the log cannot be written."""
    assert "ended at once" in refusal(command_line, "up", "--stores", 2, "--detach", "--stage", "parm=false")
    (tmp_path / "storefleet-blocked.log").mkdir()
    line = refusal(command_line, "up", "--stores", 2, "--detach", "--name", "blocked")
    assert "storefleet-blocked.log" in line
