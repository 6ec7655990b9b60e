"""Folders that a lab works in: they exist, and their names are text, since records, reports and settings tell them."""

from __future__ import annotations

from pathlib import Path

from fleetwire.errors import SettingsError


def current_folder() -> Path:
    """Where the command was started; raises SettingsError when that is gone or its name is no text."""
    try:
        return require_text(Path.cwd())
    except OSError as error:
        raise SettingsError(
            f"the current folder: {error.strerror}, it was deleted or moved; cd to another one"
        ) from error


def absolute(folder: Path) -> Path:
    """A folder by its whole name; a relative one is meant from the current folder. Raises SettingsError."""
    return folder if folder.is_absolute() else current_folder() / folder


def require_text(folder: Path) -> Path:
    """The same folder; raises SettingsError when its name is no UTF-8."""
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        raise SettingsError(f"folder {printable(folder)}: its name is no UTF-8 text; use one whose name is") from None
    return folder


def printable(folder: Path | str) -> str:
    """A name as far as it is text, with a question mark for each byte that is none."""
    return str(folder).encode(errors="replace").decode()
