"""State, skipped lines and checkpoint are one: after any failure all three are of the same moment."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from consumers.feed import fold_file
from consumers.feed.fold_file import FoldFile
from consumers.feed.lines import Change, Unusable, read_line, unusable
from fleetwire.errors import BadPayload, StorageError


class Letters:
    """A fold that keeps the ids of changes; ``poison`` makes it fail in a way that nobody foresaw."""

    name = "letters"
    channel = "letter"
    schema = "CREATE TABLE IF NOT EXISTS letter (id TEXT PRIMARY KEY)"

    def __init__(self) -> None:
        self.told: list[str] = []
        self._staged: list[str] = []

    def load(self, connection: sqlite3.Connection) -> None:
        """Nothing is kept in memory."""

    def read(self, change: Change) -> str:
        """The id; ``bad`` cannot be used."""
        if change.id == "bad":
            raise BadPayload("schema", "a bad letter")
        return change.id

    def apply(self, connection: sqlite3.Connection, items: Sequence[str]) -> None:
        """Keep them, but for poison."""
        self._staged = list(items)
        for item in items:
            connection.execute("INSERT OR IGNORE INTO letter VALUES (?)", (item,))
            if item == "poison":
                raise ZeroDivisionError("nobody foresaw this")

    def committed(self) -> None:
        """Remember that we were told."""
        self.told += self._staged

    def rebuild(self, connection: sqlite3.Connection) -> None:
        """Forget."""
        connection.execute("DELETE FROM letter")


def change(number: int, name: str) -> Change:
    """A change of this id."""
    return Change(str(number), name, "1-a", False, b"{}")


def state(path: Path) -> tuple[list[str], str, dict[str, int]]:
    """What another process reads: letters, checkpoint, times by reason."""
    connection = sqlite3.connect(path)
    letters = [row[0] for row in connection.execute("SELECT id FROM letter ORDER BY id")]
    (checkpoint,) = connection.execute("SELECT sequence FROM checkpoint").fetchone() or ("0",)
    skipped = dict(connection.execute("SELECT reason, sum(times) FROM skipped GROUP BY reason"))
    connection.close()
    return letters, checkpoint, skipped


def test_a_batch_is_stored_with_its_checkpoint_and_survives(tmp_path: Path) -> None:
    """A new process goes on where the last one committed."""
    path = tmp_path / "letters.sqlite"
    file = FoldFile(path, Letters())
    file.commit([change(1, "a"), change(2, "b")], [], "2")
    assert state(path) == (["a", "b"], "2", {})
    file.close()
    assert FoldFile(path, Letters()).checkpoint == "2"


def test_a_change_that_cannot_be_used_stops_none_behind_it(tmp_path: Path) -> None:
    """It goes to skipped with its reason; a poison document is found alone."""
    path, fold = tmp_path / "letters.sqlite", Letters()
    file = FoldFile(path, fold)
    file.commit([change(1, "a"), change(2, "bad"), change(3, "poison"), change(4, "d")], [], "4")
    assert state(path) == (["a", "d"], "4", {"schema": 1, "stage_error": 1})
    assert fold.told == ["a", "d"]
    assert file.skipped == {"schema": 1, "stage_error": 1}


def test_a_full_database_keeps_nothing_of_the_batch_and_the_checkpoint_stays(tmp_path: Path) -> None:
    """StorageError is no poison: the batch is whole when it comes again."""
    path, fold = tmp_path / "letters.sqlite", Letters()
    file = FoldFile(path, fold)
    pages = file.connection.execute("PRAGMA page_count").fetchone()[0]
    file.connection.execute(f"PRAGMA max_page_count = {pages}")
    big = [change(number, f"{number:04d}" + "x" * 200) for number in range(500)]
    with pytest.raises(StorageError, match="nothing of this batch was kept"):
        file.commit(big, [], "500")
    assert state(path) == ([], "0", {})
    assert fold.told == []
    assert (file.checkpoint, file.refusal) == ("0", "database or disk is full")
    file.connection.execute("PRAGMA max_page_count = 100000")
    file.commit(big, [], "500")
    assert file.refusal == ""
    assert len(state(path)[0]) == 500


def test_the_same_unusable_line_is_counted_and_kept_once(tmp_path: Path) -> None:
    """A gateway that repeats itself does not fill the disk."""
    path = tmp_path / "letters.sqlite"
    file = FoldFile(path, Letters())
    bad = read_line(b"{")
    assert isinstance(bad, Unusable)
    for _ in range(3):
        file.commit([], [bad], "")
    assert state(path) == ([], "0", {"malformed_json": 3})
    file.close()
    assert FoldFile(path, Letters()).skipped == {"malformed_json": 3}


def test_lines_that_name_no_document_are_known_by_what_they_say_and_told_once(tmp_path: Path) -> None:
    """Nothing lies behind them, so the feed brings them whenever it is asked again: also after a restart."""
    path, heard = tmp_path / "letters.sqlite", list[Unusable]()
    lines = [read_line(b"{"), read_line(b'{"'), read_line(b'{"seq":5,"id":"e","changes":7}')]
    bad = [entry for entry in lines if isinstance(entry, Unusable)]
    file = FoldFile(path, Letters(), heard.append)
    file.commit([], [*bad, bad[0]], "5")
    assert [(skip.line, bool(skip.revision)) for skip in heard] == [
        (b"{", True),
        (b'{"', True),
        (b'{"seq":5,"id":"e","changes":7}', False),
    ]
    assert len({skip.revision for skip in heard[:2]}) == 2
    file.commit([], bad[:2], "")
    file.close()
    again = FoldFile(path, Letters(), heard.append)
    again.commit([], bad[:2], "")
    assert len(heard) == 3
    assert again.skipped == {"malformed_json": 7, "schema": 1}
    assert {skip.line for skip in again.skips(untold=True)} == {skip.line for skip in heard}


def test_beyond_the_limit_of_rows_a_skip_is_told_and_counted_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Only its row is not kept, which is said once; a skip that has its row already is counted there."""
    monkeypatch.setattr(fold_file, "MAXIMUM_SKIPPED_ROWS", 2)
    path, heard = tmp_path / "letters.sqlite", list[str]()
    file = FoldFile(path, Letters(), lambda skip: heard.append(skip.id))
    bad = [unusable(change(number, f"letter-{number}"), "schema", "bad") for number in range(1, 5)]
    file.commit([], bad[:3], "3")
    file.commit([], [bad[3], bad[0]], "4")
    assert heard == [*(skip.id for skip in bad), bad[0].id]
    assert file.skips(untold=False) == [Unusable("", *skip[1:]) for skip in bad[:2]]
    assert (file.unkept_total, file.skipped, state(path)) == (2, {"schema": 5}, ([], "4", {"schema": 3}))
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "no more are kept" in caplog.text


def test_forgetting_begins_again_at_the_beginning(tmp_path: Path) -> None:
    """State, skipped and checkpoint go together."""
    path = tmp_path / "letters.sqlite"
    file = FoldFile(path, Letters())
    file.commit([change(1, "a"), change(2, "bad")], [], "2")
    file.forget()
    assert state(path) == ([], "0", {})
    assert file.checkpoint == "0"


def test_a_file_that_is_no_database_says_what_to_do(tmp_path: Path) -> None:
    """One line with the path and the remedy."""
    path = tmp_path / "letters.sqlite"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(StorageError, match=r"letters\.sqlite.*remove the file"):
        FoldFile(path, Letters())
