"""Where live labs are written down: one folder a lab, readable by its owner only.

``$STOREFLEET_HOME``, or ``$XDG_STATE_HOME/storefleet``, or ``~/.local/state/storefleet``. A lab's folder holds ``lab.json``
(every endpoint), ``control.json`` (control address and the commands' token), ``processes.json`` (what to reap after a crash)
and the credentials of its stages; it goes when the lab ends. A lab is found by its name; nothing depends on a "latest" one.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
from pathlib import Path
from typing import Any, Final

from fleetwire import bounded_json
from fleetwire.errors import SettingsError
from fleetwire.identity import is_word
from fleetwire.nearest_word import nearest
from storefleet.folders import absolute, require_text

ADVICE: Final = "set STOREFLEET_HOME to a folder of yours"


def home() -> Path:
    """The folder of everything that outlives a command, whether it exists or not; raises SettingsError where none is known.

    A relative XDG_STATE_HOME is none, as its standard has it; a relative STOREFLEET_HOME is meant from the current folder.
    """
    if explicit := os.environ.get("STOREFLEET_HOME"):
        return require_text(absolute(Path(explicit)))
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    return require_text((state if state.is_absolute() else _user_folder() / ".local" / "state") / "storefleet")


def make_home() -> Path:
    """The same folder, made with all above it that is missing, for its owner only; raises SettingsError."""
    path = home()
    try:
        missing = [folder for folder in (path / "labs", path, *path.parents) if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(mode=0o700, exist_ok=True)
        (path / "labs").mkdir(exist_ok=True)
    except OSError as error:
        raise SettingsError(f"cannot make {path}: {error.strerror}; {ADVICE}") from error
    return path


def _user_folder() -> Path:
    """HOME, or else what the system knows of this user."""
    named = os.environ.get("HOME", "")
    if not named:
        try:
            named = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            raise SettingsError(
                f"HOME is not set and user {os.getuid()} has no entry that tells it; {ADVICE}"
            ) from None
    if not Path(named).is_absolute():
        raise SettingsError(f"HOME={named} is no absolute path, so no two commands would find the same lab; {ADVICE}")
    return Path(named)


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
    make_home()
    try:
        unnamed.mkdir(mode=0o700)
        write_private(unnamed / "processes.json", processes)
        unnamed.rename(folder)
    except OSError as error:
        shutil.rmtree(unnamed, ignore_errors=True)
        if folder.exists():
            end = f"storefleet down --name {name} (one that has crashed: storefleet clean)"
            raise SettingsError(f"a lab named {name} exists; choose another --name, or end it: {end}") from None
        raise SettingsError(f"cannot make {folder}: {error.strerror}; {ADVICE}") from error
    return folder


def remove_lab_folder(name: str) -> None:
    """Forget a lab that has ended."""
    shutil.rmtree(lab_folder(name), ignore_errors=True)


def lab_names() -> list[str]:
    """All labs that are written down, live or left by a crash, oldest first."""
    labs = home() / "labs"
    try:
        folders = [path for path in labs.iterdir() if path.is_dir() and path.name[0] != "."]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise SettingsError(f"cannot look into {labs}: {error.strerror}; {ADVICE}") from error
    return [path.name for path in sorted(folders, key=_written_s)]


def _written_s(folder: Path) -> float:
    """When a lab's folder was last written into; long ago where it has gone between two looks."""
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


def the_lab(name: str | None) -> str:
    """The named lab, or the only one there is; raises SettingsError with what to do."""
    names = lab_names()
    if name is not None:
        if name not in names:
            near = nearest(name, names)
            hint = f"; did you mean {near!r}?" if near else ""
            raise SettingsError(f"no lab named {name[:80]}; there are: {', '.join(names) or 'none'}{hint}")
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
        return bounded_json.decode(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot read {path}: {error}") from error
