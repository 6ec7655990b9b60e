"""The log as a run writes it: at once, whole lines, bounded, and carried on by the next lab."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from storefleet import run_log as module
from storefleet.run_log import RunLog
from storefleet.verdict.log_file import LOG_FILE_NAME, Happening, LogHeader, read_log

HEADER = LogHeader(run="lab", started_at_ms=1_000)


def log_of(folder: Path) -> RunLog:
    """The log of this folder; its clock stands at 5,000."""
    return RunLog(folder / LOG_FILE_NAME, HEADER, lambda: 5_000)


def texts(folder: Path) -> list[str]:
    """The particulars of all happenings in the file."""
    return [happening.text for happening in read_log(folder / LOG_FILE_NAME)]


def test_a_line_at_once(tmp_path: Path) -> None:
    """The header, then each happening as soon as it is told, by the lab's clock unless a time is given."""
    log = log_of(tmp_path)
    assert not (tmp_path / LOG_FILE_NAME).exists()
    log.note("phase", "lab", "trading")
    log.note("end", "parm-1", "signal SIGKILL", 4_000)
    log.note("start", "parm-1")
    assert (tmp_path / LOG_FILE_NAME).read_text(encoding="utf-8").splitlines() == [
        '{"format":"storefleet-log","version":1,"run":"lab","started_at_ms":1000}',
        '{"at_ms":5000,"kind":"phase","who":"lab","text":"trading"}',
        '{"at_ms":4000,"kind":"end","who":"parm-1","text":"signal SIGKILL"}',
        '{"at_ms":5000,"kind":"start","who":"parm-1"}',
    ]
    assert list(log.recent) == read_log(tmp_path / LOG_FILE_NAME)


@pytest.mark.parametrize("tail", [b"", b'{"at_ms":1,"ki', b"\xff"])
def test_the_next_lab_goes_on(tmp_path: Path, tail: bytes) -> None:
    """Behind what the lab before has written, whatever its death has cut off; the header stands there once."""
    log_of(tmp_path).note("phase", "lab", "trading")
    with (tmp_path / LOG_FILE_NAME).open("ab") as file:
        file.write(tail)
    again = log_of(tmp_path)
    assert [happening.text for happening in again.recent] == ["trading"]
    again.note("lab_gone", "lab", "for 2.0 s")
    again.note("phase", "lab", "starting")
    assert texts(tmp_path) == ["trading", "for 2.0 s", "starting"]
    assert (tmp_path / LOG_FILE_NAME).read_bytes().count(b"storefleet-log") == 1


def test_it_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit happenings are counted, which the log says twice; the newest are known all the same."""
    monkeypatch.setattr(module, "HAPPENING_LIMIT", 3)
    log = log_of(tmp_path)
    for number in range(7):
        log.note("phase", "lab", str(number))
    log.end()
    log.note("phase", "lab", "too late")
    found = read_log(tmp_path / LOG_FILE_NAME)
    assert [happening.text for happening in found[:3]] == ["0", "1", "2"]
    assert [happening.kind for happening in found[3:]] == ["unkept", "unkept"]
    assert found[-1].text == "4 happenings of this lab were counted only"
    assert [happening.text for happening in log.recent] == [str(number) for number in range(7)]


def test_the_restless_push_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One kind of one party has so much room, also over several labs; the others have theirs."""
    monkeypatch.setattr(module, "KIND_LIMIT", 2)
    log_of(tmp_path).note("view_behind", "sales", "0")
    log = log_of(tmp_path)
    for number in (1, 2, 3):
        log.note("view_behind", "sales", str(number))
    log.note("view_behind", "orders", "4")
    log.note("view_back", "sales", "5")
    assert [text for text in texts(tmp_path) if len(text) == 1] == ["0", "1", "4", "5"]
    assert log.unkept == 2


def test_a_disk_without_room_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line is written whole or not at all; what waits comes in order once there is room, as many as may wait."""
    monkeypatch.setattr(module, "WAITING_LIMIT", 2)
    log = log_of(tmp_path)
    log.note("phase", "lab", "before")
    before = (tmp_path / LOG_FILE_NAME).read_bytes()
    really = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, line: really(descriptor, line[:5]))
        for text in ("one", "two", "three"):
            log.note("phase", "lab", text)
        assert (log.refusal, log.unkept) == ("no space left on device", 1)
    assert (tmp_path / LOG_FILE_NAME).read_bytes() == before
    log.flush()
    assert log.refusal == ""
    found = texts(tmp_path)
    assert found[:3] == ["before", "one", "two"]
    assert "counted only" in found[3]


def test_a_folder_that_refuses_is_no_end(tmp_path: Path) -> None:
    """Where no file can be made at all, that is said, and what happened is known as long as the lab lives."""
    log = RunLog(tmp_path / "missing" / LOG_FILE_NAME, HEADER, lambda: 5_000)
    log.note("phase", "lab", "trading")
    assert log.refusal == "No such file or directory"
    assert list(log.recent) == [Happening(at_ms=5_000, kind="phase", who="lab", text="trading")]
    (tmp_path / "missing").mkdir()
    log.note("phase", "lab", "stop")
    assert (texts(tmp_path / "missing"), log.refusal) == (["trading", "stop"], "")
