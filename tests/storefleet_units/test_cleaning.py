"""What dead labs left is ended before anything goes on, and a file that nobody can read stands in nobody's way."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetwire.errors import SettingsError
from storefleet import home, processes
from storefleet.cleaning import clean_up, give_way, reap_crashed
from storefleet.process_identity import ProcessIdentity, identify


@pytest.fixture
def dead_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a dead lab named ``lab``, whose broker is left running."""
    monkeypatch.setenv("STOREFLEET_HOME", str(tmp_path / "home"))
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True) as broker:
        left = identify(broker.pid)
        rows = [
            {"name": "lab", "process_id": broker.pid, "started": "1"},
            {"name": "broker-1", "process_id": broker.pid, "started": left.started},
        ]
        yield home.make_lab_folder("lab", json.dumps(rows))
        broker.kill()


def test_a_lab_gives_way(dead_lab: Path) -> None:
    """What it left running is ended, and it is forgotten."""
    give_way("lab")
    assert processes.survivors(dead_lab) == []
    assert not dead_lab.exists()


def test_what_cannot_be_ended_is_waited_for(dead_lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the kernel holds a process of a dead lab no other goes on beside it, and the lab stays written down."""

    def unkillable(identities: list[ProcessIdentity], **_: float) -> list[ProcessIdentity]:
        return identities

    monkeypatch.setattr(processes, "end_all", unkillable)
    with pytest.raises(SettingsError, match="broker-1 of the dead lab lab cannot be ended yet"):
        give_way("lab")
    for tidy in (reap_crashed, lambda: clean_up(None)):
        assert "cannot be ended yet" in tidy()[-1]
    assert processes.survivors(dead_lab) == ["broker-1"]
    assert dead_lab.exists()


@pytest.mark.parametrize("file", ["lab.json", "processes.json"])
@pytest.mark.parametrize("text", ["", '{"name": "lab"', "[]", "[1]", "{}", "7"])
def test_a_torn_file_stands_in_nobodys_way(
    dead_lab: Path, file: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A lab whose file was cut off by a crash is tidied up as far as it is known."""
    for tidy in (reap_crashed, lambda: clean_up(None), lambda: give_way("lab")):
        dead_lab.mkdir(exist_ok=True)
        (dead_lab / file).write_text(text, encoding="utf-8")
        tidy()
        assert not dead_lab.exists()
    says_nothing = file == "processes.json" and text in ("[]", "{}")
    assert bool(caplog.messages) != says_nothing
