"""Where no home is known, or nothing can be written there: one line that says what to set, and asking makes no folder."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from fleetwire.errors import SettingsError
from storefleet import home
from tests.environment.conftest import InstalledCommand
from tests.environment.test_strange_environments import asked

UNKNOWN_USER = 54_321
ADVICE = "set STOREFLEET_HOME to a folder of yours"


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STOREFLEET_HOME", "XDG_STATE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("named", [None, ""])
def test_a_user_of_whom_the_system_knows_nothing(monkeypatch: pytest.MonkeyPatch, named: str | None) -> None:
    """As in a container that was started with ``--user``: the number is told, and what to set."""
    monkeypatch.setattr(os, "getuid", lambda: UNKNOWN_USER)
    if named is not None:
        monkeypatch.setenv("HOME", named)
    with pytest.raises(
        SettingsError, match=f"^HOME is not set and user {UNKNOWN_USER} has no entry that tells it; {ADVICE}$"
    ):
        home.home()


def test_the_entry_of_the_user_is_enough() -> None:
    """Without HOME, it is where the system says."""
    assert home.home() == Path("~").expanduser() / ".local" / "state" / "storefleet"


@pytest.mark.parametrize("named", ["x", ".", "~"])
def test_a_home_that_is_no_absolute_path(monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    """Each folder would have another one: refused."""
    monkeypatch.setenv("HOME", named)
    with pytest.raises(SettingsError, match=f"HOME={named} is no absolute path.*{ADVICE}"):
        home.home()


def test_relative_folders_that_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A relative XDG_STATE_HOME is to be ignored, as its standard says; a relative STOREFLEET_HOME is meant from here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/")
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    assert home.home() == Path("/.local/state/storefleet")
    monkeypatch.setenv("STOREFLEET_HOME", "mine")
    assert home.home() == tmp_path / "mine"


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_all_that_is_made_is_its_owners(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, umask: int) -> None:
    """The folders above home too, and the one for labs; what was there is left as it is."""
    monkeypatch.setenv("HOME", str(tmp_path))
    before = os.umask(umask)
    try:
        home.make_lab_folder("one", "{}")
    finally:
        os.umask(before)
    made = [tmp_path / ".local", tmp_path / ".local/state", tmp_path / ".local/state/storefleet/labs"]
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in made} == {0o700}


def test_who_asks_makes_no_folder(command: InstalledCommand) -> None:
    """Status and log without a lab leave nothing behind."""
    for arguments in (("status",), ("log",), ("down",)):
        assert asked(command, *arguments).returncode == 2
    assert not command.home.exists()


@pytest.mark.parametrize("named", ["/proc/self", "/dev/null"])
def test_a_home_in_which_nothing_can_be_written(command: InstalledCommand, named: str) -> None:
    """Not even by root: a lab does not begin, and doctor says so; whoever only asks is answered."""
    del command.environment["STOREFLEET_HOME"]
    command.environment["HOME"] = named
    up = asked(command, "up", "--stores", 2)
    assert (up.returncode, up.stderr.count(b"\n")) == (2, 1)
    assert up.stderr.endswith(f"{ADVICE}\n".encode())
    assert list((command.folder / "runs").iterdir()) == []
    doctor = asked(command, "doctor")
    assert doctor.returncode == 2
    assert ADVICE.encode() in doctor.stdout
    assert asked(command, "status").stderr == b"storefleet: no lab is running here; start one: storefleet up\n"


def _strangers() -> tuple[str, ...]:
    return ("unshare", "--user", f"--map-user={UNKNOWN_USER}", f"--map-group={UNKNOWN_USER}")


def _has_namespaces() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*_strangers(), "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not _has_namespaces(), reason="this machine lets nobody be another user")
def test_the_commands_of_such_a_user(command: InstalledCommand, recorded: Path) -> None:
    """A real one: with the advice followed everything works, and before it is told."""
    assert asked(command, "status", before=_strangers()).stderr.startswith(b"storefleet: no lab is running here")
    assert asked(command, "doctor", before=_strangers()).returncode == 0
    for name in ("STOREFLEET_HOME", "HOME"):
        command.environment.pop(name, None)
    refused = asked(command, "up", before=_strangers())
    assert (refused.returncode, refused.stderr.count(b"\n")) == (2, 1)
    assert f"HOME is not set and user {UNKNOWN_USER} has no entry".encode() in refused.stderr
    assert asked(command, "verdict", recorded, before=_strangers()).returncode == 0
