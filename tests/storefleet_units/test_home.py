"""Where live labs are written down: for their owner's eyes only, each by its name."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from fleetwire.errors import SettingsError
from storefleet import home


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that does not exist yet."""
    path = tmp_path / "deep" / "home"
    monkeypatch.setenv("STOREFLEET_HOME", str(path))
    return path


def mode(path: Path) -> int:
    """The permission bits of a path."""
    return stat.S_IMODE(path.stat().st_mode)


def test_where_home_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """STOREFLEET_HOME goes before XDG_STATE_HOME, and that before the user's own state folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("STOREFLEET_HOME", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert home.home() == tmp_path / ".local" / "state" / "storefleet"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert home.home() == tmp_path / "state" / "storefleet"
    monkeypatch.setenv("STOREFLEET_HOME", str(tmp_path / "mine"))
    assert home.home() == tmp_path / "mine"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_nobody_else_looks_in(own_home: Path, umask: int) -> None:
    """Whatever the umask, home and a lab's folder are their owner's only, and so is every file that is written there."""
    before = os.umask(umask)
    try:
        folder = home.make_lab_folder("one", "{}")
        home.write_private(folder / "control.json", "secret")
        home.write_private(folder / "control.json", "another")
    finally:
        os.umask(before)
    assert mode(own_home) == mode(folder) == 0o700
    assert mode(folder / "processes.json") == mode(folder / "control.json") == 0o600
    assert sorted(path.name for path in folder.iterdir()) == ["control.json", "processes.json"]
    assert (folder / "control.json").read_text() == "another"


def test_a_file_that_others_prepared(own_home: Path) -> None:
    """A readable file, or a link, that waits at the temporary name is not written into."""
    folder = home.make_lab_folder("one", "{}")
    elsewhere = own_home / "elsewhere"
    elsewhere.write_text("before")
    (folder / "control.json.new").symlink_to(elsewhere)
    home.write_private(folder / "control.json", "secret")
    assert elsewhere.read_text() == "before"
    assert not (folder / "control.json").is_symlink()
    assert mode(folder / "control.json") == 0o600


def test_a_lab_is_written_down_at_once(own_home: Path) -> None:
    """A new lab's folder appears with its processes in it; nothing unfinished is left beside it."""
    folder = home.make_lab_folder("one", '{"lab": 1}')
    assert folder == own_home / "labs" / "one"
    assert home.read_json(folder / "processes.json") == {"lab": 1}
    assert [path.name for path in folder.parent.iterdir()] == ["one"]


def test_a_name_is_taken_once(own_home: Path) -> None:
    """A second lab of the same name is refused with both ways out, and harms nothing of the first."""
    folder = home.make_lab_folder("one", "{}")
    advice = "a lab named one exists; choose another --name, or end it: storefleet down --name one"
    with pytest.raises(SettingsError, match=advice):
        home.make_lab_folder("one", '{"other": 1}')
    assert (folder / "processes.json").read_text() == "{}"
    assert [path.name for path in folder.parent.iterdir()] == ["one"]
    home.remove_lab_folder("one")
    assert home.make_lab_folder("one", "{}") == folder


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "A", ".hidden", "a" * 33])
def test_no_name_leads_elsewhere(own_home: Path, name: str) -> None:
    """What is no word is no lab's name, so that no name leads out of the folder."""
    for use in (home.lab_folder, home.remove_lab_folder):
        with pytest.raises(SettingsError, match="lab name"):
            use(name)


def test_the_lab(own_home: Path) -> None:
    """The only lab needs no name; with none or several, and for a name that is not there, the error says what to do."""
    with pytest.raises(SettingsError, match="no lab is running here; start one: storefleet up"):
        home.the_lab(None)
    with pytest.raises(SettingsError, match="no lab named one; there are: none"):
        home.the_lab("one")
    home.make_lab_folder("one", "{}")
    assert home.the_lab(None) == home.the_lab("one") == "one"
    home.make_lab_folder("two", "{}")
    with pytest.raises(SettingsError, match=r"several labs are running: name one with --name \((one, two|two, one)\)"):
        home.the_lab(None)
    with pytest.raises(SettingsError, match=r"no lab named three; there are: (one, two|two, one)$"):
        home.the_lab("three")


def test_labs_come_by_age(own_home: Path) -> None:
    """Labs are listed oldest first; what is unfinished or no folder is none."""
    assert home.lab_names() == []
    for age_s, name in ((10, "young"), (30, "old"), (20, "middle")):
        folder = home.make_lab_folder(name, "{}")
        os.utime(folder, (1_000_000 - age_s, 1_000_000 - age_s))
    (own_home / "labs" / ".unfinished.0").mkdir()
    (own_home / "labs" / "file").touch()
    assert home.lab_names() == ["old", "middle", "young"]


def test_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where home cannot be made, the error names it and the variable that moves it."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("STOREFLEET_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(SettingsError, match=r"cannot make .*/file/home: Not a directory; set STOREFLEET_HOME"):
        home.make_home()


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff"])
def test_unreadable_files(own_home: Path, content: bytes | None) -> None:
    """A file of ours that is missing or spoilt is named."""
    path = home.make_lab_folder("one", "{}") / "lab.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"cannot read .*/labs/one/lab\.json"):
        home.read_json(path)
