"""``up --detach`` waits for the lab that it has started, and reports no other one of that name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fleetwire.errors import SettingsError
from storefleet import cli_run, home
from storefleet.process_identity import identify
from storefleet.processes import record_text


def test_another_lab_of_that_name_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While only somebody else's lab has the name, the own one is not there yet; the own one is asked."""
    asked: list[str] = []

    def answer(name: str, method: str) -> dict[str, bool]:
        asked.append(f"{name} {method}")
        return {"ready": True}

    monkeypatch.setenv("STOREFLEET_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("storefleet.control_client.call_lab", answer)
    command = (sys.executable, "-c", "input()")
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE) as own,
        subprocess.Popen(command, stdin=subprocess.PIPE) as stranger,
    ):
        for process, name in ((stranger, "taken"), (own, "mine")):
            row = {"name": "lab", "process_id": process.pid, "started": identify(process.pid).started}
            home.make_lab_folder(name, json.dumps([row]))
        for name in ("taken", "none"):
            with pytest.raises(SettingsError, match="is not there yet"):
                cli_run._status_of(own, name)
        assert cli_run._status_of(own, "mine") == {"ready": True}
        own.kill()
        stranger.kill()
    assert asked == ["mine status"]


def test_the_log_of_a_lab_that_lives_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where a lab of that name lives, nothing is started, and one line says so."""
    monkeypatch.setenv("STOREFLEET_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    home.make_lab_folder("lab", record_text(()))
    (tmp_path / "storefleet-lab.log").write_text("trading", encoding="utf-8")
    with pytest.raises(SystemExit) as refused:
        cli_run._detach("lab", json_output=False)
    assert refused.value.code == 2
    assert capsys.readouterr().err.endswith("a lab named lab runs; end it first: storefleet down --name lab\n")
    assert (tmp_path / "storefleet-lab.log").read_text(encoding="utf-8") == "trading"
