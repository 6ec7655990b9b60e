"""A command in the foreground of a terminal of its own, as a shell has it there: with job control."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.command_line import CommandLine, until

SHELL = """
import fcntl, os, subprocess, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
child = subprocess.Popen(sys.argv[2:], process_group=0)
os.tcsetpgrp(0, child.pid)
open(sys.argv[1], "w").write(str(child.pid))
sys.exit(child.wait())
"""
INTERRUPT, SUSPEND, HOLD, GO_ON = b"\x03", b"\x1a", b"\x13", b"\x11"


class Terminal:
    """What a person has before her: keys, and what was shown."""

    def __init__(self, process: subprocess.Popen[bytes], master: int, process_id_file: Path) -> None:
        self.process = process
        self._master: int | None = master
        self._process_id_file = process_id_file
        self._shown = b""
        threading.Thread(target=self._read, args=(master,), daemon=True).start()

    @property
    def shown(self) -> str:
        """Everything that was shown."""
        return self._shown.decode(errors="replace")

    @property
    def process_id(self) -> int:
        """The command's."""
        return int(until(lambda: self._process_id_file.exists() and self._process_id_file.read_text(), "it has begun"))

    @property
    def state(self) -> str:
        """The command's state by the kernel: ``T`` is stopped; empty when it has ended."""
        try:
            return Path(f"/proc/{self.process_id}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return ""

    def press(self, key: bytes) -> None:
        """A key."""
        assert self._master is not None
        os.write(self._master, key)

    def close(self) -> None:
        """Close the window."""
        if self._master is not None:
            os.close(self._master)
            self._master = None

    def _read(self, master: int) -> None:
        try:
            while found := os.read(master, 65_536):
                self._shown += found
        except OSError:
            return


@contextmanager
def terminal(command_line: CommandLine, *arguments: object, **environment: str) -> Iterator[Terminal]:
    """Run a command in a terminal; ended with its window at the latest."""
    master, slave = pty.openpty()
    own = {name: value for name, value in command_line.environment.items() if name != "CI"}
    process_id_file = command_line.folder / "process_id"
    process = subprocess.Popen(
        [sys.executable, "-c", SHELL, str(process_id_file), *command_line._words(arguments)],
        cwd=command_line.folder, env={**own, "TERM": "xterm", **environment}, stdin=slave, stdout=slave, stderr=slave,
    )  # fmt: skip
    os.close(slave)
    window = Terminal(process, master, process_id_file)
    try:
        yield window
    finally:
        window.close()
        if process.poll() is None:
            process.kill()
        process.wait()
