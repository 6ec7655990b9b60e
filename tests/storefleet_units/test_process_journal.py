"""The journal of processes: an incarnation has its number once in a run, and one lab has the run at a time."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from fleetwire.errors import SettingsError
from storefleet.process_journal import JOURNAL_FILE_NAME, ProcessJournal


def test_incarnations_go_on(tmp_path: Path) -> None:
    """A later journal counts on from the one before it, and still knows how incarnations ended."""
    first = ProcessJournal(tmp_path)
    assert [first.start("parm-1"), first.start("parm-1"), first.start("views-1")] == [1, 2, 1]
    first.end("parm-1", "signal SIGKILL")
    first.close()
    later = ProcessJournal(tmp_path)
    assert (later.start("parm-1"), later.start("views-1"), later.start("chaos-1")) == (3, 2, 1)
    assert later.exits == {"parm-1": ["signal SIGKILL"]}
    later.close()


@pytest.mark.parametrize("tail", [b'{"at_ms":1,"name":"par', b"\n\xff\n", b"[]"])
def test_a_torn_line_spoils_nothing(tmp_path: Path, tail: bytes) -> None:
    """What a death left half written is skipped, and the next line stands alone."""
    first = ProcessJournal(tmp_path)
    first.start("parm-1")
    first.close()
    with (tmp_path / JOURNAL_FILE_NAME).open("ab") as file:
        file.write(tail)
    for incarnation in (2, 3):
        journal = ProcessJournal(tmp_path)
        assert journal.start("parm-1") == incarnation
        journal.close()


def test_what_was_heard_counts_too(tmp_path: Path) -> None:
    """A run without a journal of its own goes on above the incarnations that its witnesses tell."""
    journal = ProcessJournal(tmp_path)
    journal.know("parm-1", 4)
    journal.know("parm-1", 2)
    assert journal.start("parm-1") == 5
    journal.close()


def test_one_lab_at_a_time(tmp_path: Path) -> None:
    """While a lab has the journal open nobody else gets it; closed, it is free."""
    journal = ProcessJournal(tmp_path)
    with pytest.raises(SettingsError, match="still lives"):
        ProcessJournal(tmp_path)
    journal.close()
    ProcessJournal(tmp_path).close()


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is another reason than a lab that lives, and it is named."""

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(SettingsError, match=r"cannot lock .*: No locks available; .* --runs DIR"):
        ProcessJournal(tmp_path)
