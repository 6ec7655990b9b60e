"""The scripts of a clone, in a folder with a space and a letter beyond ASCII, by a user without sbin in PATH.

The environment is there already, as on every run but the first: what is measured is that nothing is fetched again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.lab.command_line import REPOSITORY

ENTRY = """#!/bin/sh
exec "{python}" -P -m storefleet "$@"
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the scripts need, with an environment that was set up for exactly this project."""
    folder = tmp_path_factory.mktemp("clone") / "Filiale Köln"
    folder.mkdir()
    shutil.copytree(REPOSITORY / "scripts", folder / "scripts")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(REPOSITORY / name, folder / name)
    environment = folder / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True, capture_output=True)
    packages = next(environment.glob("lib/python*/site-packages"))
    (packages / "of-the-tests.pth").write_text(f"{sysconfig.get_path('purelib')}\n{REPOSITORY}\n", encoding="utf-8")
    (environment / "bin/storefleet").write_text(ENTRY.format(python=environment / "bin/python"), encoding="utf-8")
    (environment / "bin/storefleet").chmod(0o755)
    stamp(folder)
    return folder


def stamp(folder: Path) -> None:
    """Say that the environment was set up for exactly this project, in this folder."""
    wanted = (
        "printf '%s %s' $(cat pyproject.toml constraints.txt | cksum | tr ' ' -) \"$(pwd -P)\" >.venv/storefleet-stamp"
    )
    subprocess.run(wanted, shell=True, cwd=folder, check=True)


def run(clone: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script as a user has it who is asked nothing; a download would fail, since no index answers."""
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(clone.parent),
        "PIP_NO_INDEX": "1",
        "STOREFLEET_HOME": str(clone.parent / "home"),
        "LANG": "C.UTF-8",
    }
    return subprocess.run(
        [str(clone / "scripts" / script), *arguments],
        cwd=clone.parent, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip


def test_a_second_run_fetches_nothing_and_passes_arguments_on(clone: Path) -> None:
    """``--yes`` is for the set-up, everything else for pytest, words with spaces as one."""
    done = run(clone, "test", "--yes", "--collect-only", "-q", "tests of nothing.py")
    assert "installing" not in done.stdout
    assert "tests of nothing.py" in done.stdout + done.stderr
    assert "unrecognized" not in done.stderr
    assert done.returncode == 4, "pytest's status when a file is not there"


def test_the_demo_takes_its_options(clone: Path) -> None:
    """``scripts/demo`` hands options to ``storefleet demo``, whose status is its own."""
    done = run(clone, "demo", "--yes", "--rate", "fast")
    assert done.returncode == 2
    assert (
        done.stderr
        == "storefleet: --rate 'fast': expected a number of events such as 200/s or 600/min, from 0 to 100,000/s\n"
    )
    assert "installing" not in done.stdout


def test_the_soak_takes_its_options(clone: Path) -> None:
    """``scripts/soak`` hands options on; what is wrong with one is said in one line, status 2."""
    for option, value, wrong in (
        ("--rate", "fast", "--rate 'fast': expected a number of events such as 200/s or 600/min"),
        ("--longest-pause", "21", "Invalid value for '--longest-pause': "),
    ):
        done = run(clone, "soak", "--yes", option, value)
        assert done.returncode == 2
        assert done.stderr.startswith(f"storefleet: {wrong}")
        assert done.stderr.count("\n") == 1


def test_the_steadiness_takes_its_options(clone: Path) -> None:
    """``scripts/steadiness`` hands options on, in the same way."""
    done = run(clone, "steadiness", "--yes", "--healthy", "many")
    assert done.returncode == 2
    assert done.stderr.startswith("storefleet: Invalid value for '--healthy': ")
    assert done.stderr.count("\n") == 1


def test_the_first_words_come_at_once(clone: Path, tmp_path: Path) -> None:
    """There is something to read before the first Python is tried, however long that takes."""
    for name in ("scripts", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).symlink_to(clone / name)
    shutil.copytree(clone / "scripts", tmp_path / "scripts-of-its-own")
    (tmp_path / "scripts").unlink()
    (tmp_path / "scripts-of-its-own").rename(tmp_path / "scripts")
    said, said_before, python = (tmp_path / name for name in ("said", "said-before", ".venv/bin/python"))
    python.parent.mkdir(parents=True)
    python.write_text(
        f'#!/bin/sh\n[ -e "{said_before}" ] || cp "{said}" "{said_before}"\nexec "{sys.executable}" "$@"\n'
    )
    python.chmod(0o755)
    stamp(tmp_path)
    with said.open("w", encoding="utf-8") as output:
        subprocess.run([str(tmp_path / "scripts/test"), "--yes", "--version"], stdout=output, check=True)
    assert said_before.read_text(encoding="utf-8") == "storefleet: checking what is there\n"


@pytest.mark.skipif(
    os.environ.get("STOREFLEET_MOSQUITTO") is not None, reason="this machine's broker is in no usual folder"
)
def test_mosquitto_is_found_without_sbin_in_path(clone: Path) -> None:
    """With an ordinary user's PATH the broker is found, and the set-up does not offer to install it."""
    done = run(clone, "demo", "--help")
    assert done.returncode == 0, done.stderr
    assert "Mosquitto is missing" not in done.stdout
