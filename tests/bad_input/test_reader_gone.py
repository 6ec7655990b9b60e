"""``storefleet up | head``: the reader goes, the lab does not, and it still ends when it is told to."""

from __future__ import annotations

import signal
import subprocess

from tests.lab.command_line import CommandLine, read_verdict, until


def test_a_lab_whose_output_nobody_reads_can_be_ended(command_line: CommandLine) -> None:
    """Once the pipe is broken, the first SIGINT still drains and judges, and the verdict is valid."""
    words = command_line._words(("up", "--stores", 2, "--rate", "20/s", "--name", "lab", "--runs", command_line.runs))
    with subprocess.Popen(
        words, cwd=command_line.folder, env=command_line.environment, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        until((command_line.home / "labs" / "lab" / "control.json").exists, "the lab can be asked")
        command_line.run("wait", "--ready", "--name", "lab")
        until(lambda: command_line.json("status")["picture"]["phase"] == "trading", "the lab trades")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    assert read_verdict(command_line.run_folders()[0])["validity"] == "valid"
