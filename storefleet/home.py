"""Where live labs are written down: one folder a lab, readable by its owner only.

``$STOREFLEET_HOME``, or ``$XDG_STATE_HOME/storefleet``, or ``~/.local/state/storefleet``. A lab's folder holds ``lab.json``
(every endpoint), ``control.json`` (control address and the commands' token), ``processes.json`` (what to reap after a crash)
and the credentials of its stages; it goes when the lab ends. A lab is found by its name; nothing depends on a "latest" one.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

from fleetwire.errors import SettingsError
from fleetwire.identity import is_word


def home() -> Path:
    """The folder of everything that outlives a command; made on first use, mode 0700."""
    explicit = os.environ.get("STOREFLEET_HOME")
    state = os.environ.get("XDG_STATE_HOME")
    path = Path(explicit) if explicit else (Path(state) if state else Path.home() / ".local" / "state") / "storefleet"
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise SettingsError(
            f"cannot make {path}: {error.strerror}; set STOREFLEET_HOME to a folder of yours"
        ) from error
    return path


def lab_folder(name: str) -> Path:
    """The folder of one lab, whether it exists or not; raises SettingsError for a name that is no word."""
    if not is_word(name):
        raise SettingsError(f"lab name {name!r}: use 1 to 32 of a-z, 0-9 and dash, no dash at the ends")
    return home() / "labs" / name


def make_lab_folder(name: str, processes: str) -> Path:
    """Make the folder of a new lab; raises SettingsError when a lab of that name is written down already.

    ``processes`` is its processes.json, there from the first moment: without it, it would look like a crashed lab's.
    """
    folder = lab_folder(name)
    unnamed = folder.with_name(f".{name}.{secrets.token_hex(4)}")
    try:
        unnamed.mkdir(parents=True, mode=0o700)
        write_private(unnamed / "processes.json", processes)
        unnamed.rename(folder)
    except OSError as error:
        shutil.rmtree(unnamed, ignore_errors=True)
        if folder.exists():
            end = f"storefleet down --name {name} (one that has crashed: storefleet clean)"
            raise SettingsError(f"a lab named {name} exists; choose another --name, or end it: {end}") from None
        raise SettingsError(f"cannot make {folder}: {error.strerror}") from error
    return folder


def remove_lab_folder(name: str) -> None:
    """Forget a lab that has ended."""
    shutil.rmtree(lab_folder(name), ignore_errors=True)


def lab_names() -> list[str]:
    """All labs that are written down, live or left by a crash, oldest first."""
    labs = home() / "labs"
    folders = [path for path in labs.iterdir() if path.is_dir() and path.name[0] != "."] if labs.is_dir() else []
    return [path.name for path in sorted(folders, key=lambda path: path.stat().st_mtime)]


def the_lab(name: str | None) -> str:
    """The named lab, or the only one there is; raises SettingsError with what to do."""
    names = lab_names()
    if name is not None:
        if name not in names:
            raise SettingsError(f"no lab named {name}; there are: {', '.join(names) or 'none'}")
        return name
    if len(names) == 1:
        return names[0]
    if not names:
        raise SettingsError("no lab is running here; start one: storefleet up")
    raise SettingsError(f"several labs are running: name one with --name ({', '.join(names)})")


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, never readable in between; replaces atomically."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)


def read_json(path: Path) -> Any:
    """Read a JSON file of ours; raises SettingsError naming it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot read {path}: {error}") from error
