"""A fleet file that cannot be used is refused in one line that names the file, the place and what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bad_input.refusal import refusal
from tests.lab.command_line import CommandLine


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"storez = 3\n", ("unknown key 'storez'; did you mean 'stores'?",), id="unknown key"),
        pytest.param(
            b"[[brands]]\ncolor = 1\n",
            (
                "line 2",
                "brands[0]: unknown key 'color'; known keys: name, dialect",
            ),
            id="unknown inner key",
        ),
        pytest.param(b'stores = "three"\n', ("stores = 'three': expected a whole number",), id="wrong type"),
        pytest.param(b"stores = 0\n", ("stores = 0: expected a whole number from 1",), id="zero stores"),
        pytest.param(b"stores = -3\n", ("stores = -3: expected a whole number from 1",), id="fewer than no stores"),
        pytest.param(b"terminals_per_store = 0\n", ("terminals_per_store = 0", "from 1 to 99"), id="zero terminals"),
        pytest.param(b"stores = 1000000000\n", ("stores", "to 100,000"), id="a billion stores"),
        pytest.param(b"malformed = nan\n", ("malformed", "nan"), id="a share that is no number"),
        pytest.param(b'opens = "25:00"\n', ("opens",), id="no time of day"),
        pytest.param(b'first_business_day = "2026-02-31"\n', ("first_business_day", "2026-02-31"), id="no date"),
        pytest.param(b"this is no TOML\n", ("line 1",), id="not TOML"),
        pytest.param(b"stores = 3\nstores = 4\n", ("line 2",), id="a key twice"),
        pytest.param(b'\xff\xfes = "\xe4"\n', ("line 1", "utf-8"), id="not UTF-8"),
        pytest.param(b"\0\0\0", ("line 1",), id="binary"),
    ],
)
def test_unusable_content(command_line: CommandLine, content: bytes, words: tuple[str, ...]) -> None:
    """Content that is no fleet is refused with the file's name, the key or line, and what is expected there."""
    file = command_line.folder / "fleet.toml"
    file.write_bytes(content)
    line = refusal(command_line, "up", "--fleet", file)
    assert "fleet.toml" in line
    assert all(word in line for word in words), line


def test_a_missing_file(command_line: CommandLine) -> None:
    """A file that is not there is named, with an example that is."""
    line = refusal(command_line, "up", "--fleet", "nowhere.toml")
    assert "nowhere.toml" in line
    assert "no such file" in line


@pytest.mark.parametrize("path", [".", "/dev/zero"])
def test_what_is_no_file(command_line: CommandLine, path: str) -> None:
    """A folder or a device is refused without reading it."""
    assert "no ordinary file" in refusal(command_line, "up", "--fleet", path)


def test_a_file_of_a_gigabyte(command_line: CommandLine) -> None:
    """A file of a gigabyte is refused by its size, before it is read."""
    file = command_line.folder / "large.toml"
    with file.open("wb") as large:
        large.truncate(1_000_000_000)
    line = refusal(command_line, "up", "--fleet", file)
    assert "1,000,000 bytes" in line


def test_options_are_checked_like_the_file(command_line: CommandLine, tmp_path: Path) -> None:
    """An option goes before the file's key, and is refused by the same rule."""
    (tmp_path / "fleet.toml").write_text("stores = 3\n", encoding="utf-8")
    line = refusal(command_line, "up", "--fleet", tmp_path / "fleet.toml", "--stores", 0)
    assert "--stores 0: at least 1" in line
