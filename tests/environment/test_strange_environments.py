"""Commands in environments that a stranger may have: each answers as ever, or in one line with status 2."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from tests.environment.conftest import InstalledCommand
from tests.lab.command_line import without_silences

PYTHON_VARIABLES = {
    "PYTHONPATH": ".",
    "PYTHONOPTIMIZE": "2",
    "PYTHONWARNINGS": "error",
    "PYTHONINSPECT": "1",
    "PYTHONASYNCIODEBUG": "1",
    "PYTHONTRACEMALLOC": "5",
    "PYTHONSTARTUP": "startup.py",
    "PYTHONUNBUFFERED": "1",
}
SHADOWS = (
    "emulator/__init__.py", "chaos/__init__.py", "consumers/__init__.py", "fleetwire/__init__.py", "rich/__init__.py",
    "msgspec.py", "typer.py", "json.py", "select.py", "typing.py", "logging.py", "socket.py", "runpy.py",
    "asyncio/__init__.py",
)  # fmt: skip
PLAIN_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
ENVIRONMENTS: Mapping[str, dict[str, str]] = {
    "a project that shadows everything": PYTHON_VARIABLES,
    "output in Latin-1": {"PYTHONIOENCODING": "latin-1"},
    "a plain locale": PLAIN_LOCALE,
    "nothing that is named is there": {
        "LC_ALL": "xx_YY.UTF-8",
        "LANG": "tr_TR.UTF-8",
        "TZ": "Nowhere/Nothing",
        "TMPDIR": "/nowhere",
        "XDG_RUNTIME_DIR": "/nowhere",
        "TERM": "",
        "COLUMNS": "0",
        "LINES": "0",
    },
}


def shadow(project: Path) -> None:
    """Modules named like ours, like our dependencies' and like Python's own, which end whoever imports them."""
    for name in SHADOWS:
        path = project / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"raise SystemExit('this is {name} of the project')\n", encoding="utf-8")


def asked(
    command: InstalledCommand, *arguments: object, before: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[bytes]:
    """A command's exit status and what it said, in bytes, without silences."""
    done = subprocess.run(
        [*before, *command._words(arguments)], cwd=command.folder, env=command.environment, stdin=subprocess.DEVNULL,
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    done.stderr = without_silences(done.stderr.decode("latin-1")).encode("latin-1")
    return done


def an_event(run: Path) -> str:
    """The key of the first event that was committed."""
    with closing(sqlite3.connect(f"{(run / 'ledger.sqlite').as_uri()}?mode=ro", uri=True)) as ledger:
        (source,) = ledger.execute(
            "SELECT id FROM source JOIN event ON source = number WHERE sequence = 1 LIMIT 1"
        ).fetchone()
    return f"{source}.1"


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_commands_answer_as_ever(command: InstalledCommand, recorded: Path, name: str) -> None:
    """Help, doctor, status without a lab, a verdict and a journey: the same words wherever they are asked for."""
    shadow(command.folder)
    command.environment |= ENVIRONMENTS[name]
    expected = {
        ("--help",): (0, b"Usage: storefleet [OPTIONS] COMMAND"),
        ("doctor",): (0, b"ok    mosquitto"),
        ("status",): (2, b"storefleet: no lab is running here; start one: storefleet up\n"),
        ("verdict", recorded): (0, b"VALID  lab: everything that was sent arrived as it should\n"),
        ("trace", an_event(recorded), "--run", recorded): (0, b"committed, handed on"),
    }
    for arguments, (status, words) in expected.items():
        done = asked(command, *arguments)
        assert done.returncode == status, (arguments, done)
        assert words in done.stdout + done.stderr, (arguments, done)
        assert done.stderr.count(b"\n") == (status != 0), (arguments, done)


@pytest.mark.parametrize(
    ("variables", "shown"),
    [
        ({"PYTHONIOENCODING": "ascii"}, b"f?le.toml"),
        ({"PYTHONIOENCODING": "latin-1"}, b"f\xefle.toml"),
        ({"PYTHONIOENCODING": "cp437"}, b"f\x8ble.toml"),
        (PLAIN_LOCALE, b"f?le.toml"),
        ({"LC_ALL": "C"}, "fïle.toml".encode()),
    ],
)
def test_what_output_cannot_encode_is_replaced(
    command: InstalledCommand, variables: dict[str, str], shown: bytes
) -> None:
    """A name is told as far as whoever reads can be told it."""
    command.environment |= variables
    missing = asked(command, "up", "--fleet", "fïle.toml")
    assert missing.returncode == 2
    assert missing.stderr.startswith(b"storefleet: --fleet " + shown + b": there is no such file;"), missing


def test_a_file_has_its_true_name_whatever_can_be_told_of_it(command: InstalledCommand) -> None:
    """In a locale without the characters of a name, the file is found and read by it."""
    command.environment |= PLAIN_LOCALE
    (command.folder / "fïle.toml").write_text("stores = 'two'\n", encoding="utf-8")
    wrong = asked(command, "up", "--fleet", "fïle.toml")
    assert (wrong.returncode, wrong.stderr.count(b"\n")) == (2, 1)
    assert b"f?le.toml" in wrong.stderr
    assert b"no such file" not in wrong.stderr


def test_json_is_whole_where_output_is_ascii(command: InstalledCommand, recorded: Path) -> None:
    """Programs read every character of a folder's name, and a question mark for each byte that is none."""
    command.environment["PYTHONIOENCODING"] = "ascii"
    for name, told in (("Köln €", "Köln €"), (b"caf\xe9".decode(errors="surrogateescape"), "caf?")):
        folder = command.folder / name
        shutil.copytree(recorded, folder)
        done = asked(command, "verdict", folder, "--json")
        assert (done.returncode, done.stderr) == (0, b"")
        assert json.loads(done.stdout.decode("ascii"))["run"]["folder"] == told
        assert asked(command, "verdict", folder).returncode == 0
        assert asked(command, "log", folder).returncode == 0


def test_tables_have_boxes_that_output_can_encode(command: InstalledCommand, recorded: Path) -> None:
    """Lines are drawn in ASCII where nothing else can be written, and are no question marks."""
    command.environment["PYTHONIOENCODING"] = "ascii"
    drawn = asked(command, "trace", an_event(recorded), "--run", recorded).stdout
    assert b"+----" in drawn
    assert b"?" not in drawn


NO_TEXT = b"\xe9".decode(errors="surrogateescape")


@pytest.mark.parametrize("option", ["--stage", "--runs", "--resume"])
def test_bytes_on_the_command_line_that_are_no_text(command: InstalledCommand, option: str) -> None:
    """They are refused in one line, whichever option they came by."""
    done = asked(command, "up", option, f"parm=x{NO_TEXT}")
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1), done


def test_a_folder_whose_name_is_no_text(command: InstalledCommand, recorded: Path) -> None:
    """No lab is recorded there, which is said in one line; what was recorded elsewhere can be looked at."""
    command.folder = command.folder / NO_TEXT
    command.folder.mkdir()
    done = asked(command, "up")
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert done.stderr.endswith(b"its name is no UTF-8 text; use one whose name is\n")
    assert asked(command, "verdict", recorded).returncode == 0
    assert asked(command, "status").returncode == 2


def test_a_folder_that_is_gone(command: InstalledCommand, recorded: Path) -> None:
    """What needs no folder works, what needs one says in a line that it is gone."""
    here = command.folder / "here"
    here.mkdir()
    gone = ("/bin/sh", "-c", 'cd here && rmdir ../here && exec "$@"', "sh")
    (done,) = [asked(command, "verdict", recorded, before=gone)]
    assert (done.returncode, done.stderr) == (0, b"")
    here.mkdir()
    up = asked(command, "up", before=gone)
    words = b"storefleet: the current folder: No such file or directory, it was deleted or moved; cd to another one\n"
    assert (up.returncode, up.stderr) == (2, words)
