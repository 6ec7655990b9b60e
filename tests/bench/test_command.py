"""``storefleet bench`` as a user has it."""

from __future__ import annotations

import json
import signal

import pytest

from tests.lab.command_line import DEADLINE_S, CommandLine, until


def test_json_on_standard_output_and_progress_on_standard_error(command_line: CommandLine) -> None:
    """A program reads one JSON document; a person sees meanwhile what is measured."""
    done = command_line.run("bench", "--quick", "--only", "hop", "--json")
    report = json.loads(done.stdout)
    assert report["format"] == 1
    assert [part["part"] for part in report["parts"]] == ["hop"]
    assert "hop: 300 round trips" in done.stderr
    command_line.until_nothing_is_left(within_s=20.0)


def test_unknown_part_is_exit_status_2(command_line: CommandLine) -> None:
    """It did not begin."""
    done = command_line.run("bench", "--only", "everything", status=2)
    assert "no such part" in done.stderr


@pytest.mark.parametrize(
    ("part", "moment"), [("publish", "publish:"), ("hop", "connections, then"), ("latency", "latency, every hop")]
)
def test_ctrl_c_ends_it_with_nothing_left(command_line: CommandLine, part: str, moment: str) -> None:
    """The first Ctrl-C ends every process, of a worker, a hop and a whole lab alike, with exit status 130."""
    with command_line.running("bench", "--quick", "--only", part) as process:
        until(lambda: moment in command_line.errors, f"{part} has begun")
        process.send_signal(signal.SIGINT)
        status = process.wait(DEADLINE_S)
    assert status == 130, command_line.errors
    assert "nothing is left running" in command_line.errors
    command_line.until_nothing_is_left(within_s=20.0)
