"""The command line as a user has it: real processes in folders of their own, so that nothing is shared between tests.

Every process that a lab starts inherits STOREFLEET_HOME, which no other test has: by it the tests find whatever is
left, recorded or not, and end it by process id and start time.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from storefleet.process_identity import ProcessIdentity, end_all, identify

REPOSITORY = Path(__file__).parents[2]
SILENCE = re.compile(r"^(\w*: at work for \d+ s|lab \S+ is not ready yet; it writes into .*)\n", re.MULTILINE)
DEADLINE_S = 60.0
SHORT_DRAIN = "3s"
"""For a lab whose views are wrong at the end, and stay so: every event has its outcome before, so that the drain is over
at once, and waiting a whole deadline for the views would prove nothing more."""
Value = TypeVar("Value")


def until(condition: Callable[[], Value], what: str, *, deadline_s: float = DEADLINE_S) -> Value:
    """What the condition gives as soon as it is true; fails with its name after the deadline."""
    end_s = time.monotonic() + deadline_s
    while time.monotonic() < end_s:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"not within {deadline_s:g} s: {what}")


def without_silences(errors: str) -> str:
    """Standard error without what is only said on a machine so busy that a command takes longer than 3 s."""
    return SILENCE.sub("", errors)


class CommandLine:
    """Runs ``storefleet`` in a folder, with a home and a folder for runs below it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = sys.executable
        self.home = folder / "home"
        self.runs = folder / "runs"
        self.before: list[str] = []
        """Words before every command, such as one that gives it a hosts file of its own."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("STOREFLEET_")}
        self.environment = {**own, "STOREFLEET_HOME": str(self.home), "CI": "true", "COLUMNS": "160"}
        if mosquitto := os.environ.get("STOREFLEET_MOSQUITTO"):
            self.environment["STOREFLEET_MOSQUITTO"] = mosquitto

    def run(self, *arguments: object, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; its exit status must be ``status`` (None: any). Its errors are without silences."""
        done = subprocess.run(
            self._words(arguments), cwd=self.folder, env=self.environment, capture_output=True, text=True,
            timeout=2 * DEADLINE_S, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        said = f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        assert status is None or done.returncode == status, said
        done.stderr = without_silences(done.stderr)
        return done

    def json(self, *arguments: object, status: int = 0) -> Any:
        """The one JSON document that a command prints."""
        return json.loads(self.run(*arguments, "--json", status=status).stdout)

    @contextmanager
    def running(self, *arguments: object) -> Iterator[subprocess.Popen[str]]:
        """A command in the background, in a session of its own; killed at the end when it still runs."""
        with (self.folder / "output.txt").open("a") as output, (self.folder / "errors.txt").open("a") as errors:
            process = subprocess.Popen(
                self._words(arguments), cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
                stdout=output, stderr=errors, text=True, start_new_session=True,
            )  # fmt: skip
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()

    @property
    def output(self) -> str:
        """What the commands in the background have said on standard output."""
        return (self.folder / "output.txt").read_text(encoding="utf-8")

    @property
    def errors(self) -> str:
        """And on standard error."""
        return (self.folder / "errors.txt").read_text(encoding="utf-8")

    def up(self, *options: object, name: str = "lab", stores: int = 3, rate: str = "40/s") -> Lab:
        """A detached lab, ready; small unless told otherwise."""
        fleet = [] if "--fleet" in options else ["--stores", stores]
        self.run("up", *fleet, "--rate", rate, "--name", name, "--runs", self.runs, "--detach", *options)
        return Lab(self, name)

    def attach(self, name: str) -> Lab:
        """A lab that runs already."""
        return Lab(self, name)

    def leftovers(self) -> dict[int, str]:
        """Process id -> command of everything that still runs and was started below this home."""
        mark = f"STOREFLEET_HOME={self.home}\0".encode()
        found = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    if mark in (folder / "environ").read_bytes() + b"\0":
                        found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                except OSError:
                    continue
        return found

    def until_nothing_is_left(self, *, within_s: float) -> None:
        """Wait until no process of this home runs any more."""
        until(lambda: not self.leftovers(), f"every process has ended; left: {self.leftovers()}", deadline_s=within_s)

    def end_leftovers(self) -> None:
        """Kill by process id and start time what a failed test has left."""
        end_all([identify(process_id) for process_id in self.leftovers()])

    def run_folders(self) -> list[Path]:
        """All run folders, oldest first."""
        return sorted(self.runs.iterdir()) if self.runs.is_dir() else []

    def _words(self, arguments: tuple[object, ...]) -> list[str]:
        return [*self.before, self.python, "-P", "-m", "storefleet", *map(str, arguments)]


class Lab:
    """One detached lab."""

    def __init__(self, command_line: CommandLine, name: str) -> None:
        self.command_line = command_line
        self.name = name
        self.description: dict[str, Any] = json.loads((self._folder / "lab.json").read_text(encoding="utf-8"))
        self.run_folder = Path(self.description["run_folder"])

    @property
    def _folder(self) -> Path:
        return self.command_line.home / "labs" / self.name

    def identities(self) -> dict[str, ProcessIdentity]:
        """Every process as the lab has written it down, by name; ``lab`` is its own."""
        rows = json.loads((self._folder / "processes.json").read_text(encoding="utf-8"))
        return {row["name"]: ProcessIdentity(row["process_id"], row["started"]) for row in rows}

    def status(self) -> Any:
        """``storefleet status --json``."""
        return self.command_line.json("status", "--name", self.name)

    def stage(self, stage: str) -> Any:
        """One stage's line of the status."""
        return next(line for line in self.status()["picture"]["stages"] if line["stage"] == stage)

    def wait_for_trade(self, *, total: int = 40) -> None:
        """Until the terminals have committed so many events."""
        until(lambda: self.committed() >= total, f"{total} events are committed")

    def ledger(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows that the ledger has for this; the emulator may be writing it."""
        address = f"{(self.run_folder / 'ledger.sqlite').as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=20.0)) as ledger:
            return ledger.execute(query, values).fetchall()

    def committed(self) -> int:
        """How many events the ledger has."""
        return int(self.ledger("SELECT count(*) FROM event")[0][0])

    def pause(self) -> None:
        """Trade no more."""
        self.command_line.run("trade", "--name", self.name, "--rate", "0")

    def burst(self, events: int) -> None:
        """Trade exactly so many events, in turn by all terminals; without a rate of its own the lab trades no others."""
        wanted = self.committed() + events
        self.command_line.run("trade", "--name", self.name, "--burst", events)
        until(lambda: self.committed() >= wanted, f"{events} events are committed", deadline_s=2 * DEADLINE_S)
        assert self.committed() == wanted

    def unresolved(self) -> set[tuple[str, int]]:
        """The events that have no outcome: source and number."""
        return {*self.ledger("SELECT id, sequence FROM outbox JOIN source ON number = source")}

    def until_unresolved(self, *victims: tuple[str, int]) -> None:
        """Until every event has its outcome but these, which have none; in a lab that trades no more."""
        until(lambda: self.unresolved() == {*victims}, f"all have their outcome but {victims}")

    def until_refused(self, *patterns: str) -> None:
        """``wait --converged`` must refuse each time, until what it says of the views has all of this in it."""

        def said_all() -> bool:
            words = ("wait", "--name", self.name, "--converged", "--timeout", "2s")
            said = self.command_line.run(*words, status=3).stderr
            return all(re.search(pattern, said) for pattern in patterns)

        until(said_all, f"wait --converged says: {patterns}")

    def kill(self, name: str, *, until_it_is: str = "running") -> None:
        """kill -9 of one process, and wait until it has been started again: until it is running, or ready."""
        old = self.identities()[name]
        old.signal(signal.SIGKILL)
        until(lambda: self.identities()[name].process_id != old.process_id, f"{name} is started again")
        until(lambda: self.status()["processes"][name][until_it_is], f"{name} is {until_it_is} again")

    def down(self, *, status: int | None = 0) -> dict[str, Any]:
        """``storefleet down``; its exit status must be ``status`` (None: any). Returns the verdict."""
        shown = self.command_line.run("down", "--name", self.name, status=status)
        assert shown.stdout.startswith(report_of(self.run_folder)), "what is printed is what report.txt says"
        return read_verdict(self.run_folder)


def read_verdict(run_folder: Path) -> dict[str, Any]:
    """``verdict.json`` of a run folder."""
    verdict: dict[str, Any] = json.loads((run_folder / "verdict.json").read_text(encoding="utf-8"))
    return verdict


def report_of(run_folder: Path) -> str:
    """``report.txt`` of a run folder."""
    return (run_folder / "report.txt").read_text(encoding="utf-8")


def assert_told_first(lab: Lab, what: str, where: str, keys: set[str], *, since: str = "sent") -> None:
    """Within the first ten lines: what and how many, where, since when, and a command that shows the journey of one."""
    lines = report_of(lab.run_folder).splitlines()[:10]
    assert re.match(what, lines[0]), lines
    told = {
        line.split(maxsplit=1)[0]: line.split(maxsplit=1)[1] for line in lines if re.match("  (where|when|next) ", line)
    }
    assert where in told["where"], lines
    clock = r"\d\d:\d\d:\d\d\.\d{3}"
    assert re.fullmatch(rf"{since} {clock}( to {clock})? UTC", told["when"]), lines
    program, *words = shlex.split(told["next"])
    assert program == "storefleet"
    assert words[0] == "log" or words[1] in keys, lines
    lab.command_line.run(*words)


def places(verdict: dict[str, Any], what: str) -> list[list[str]]:
    """The addresses that the verdict gives for a class."""
    return [account["places"] for account in verdict["places"] if account["what"] == what]
