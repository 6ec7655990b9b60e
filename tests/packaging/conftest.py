"""The wheel of this tree, and an environment that has it; each is made once, whichever of the workers comes first."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.command_line import REPOSITORY

OLD_PAHO = "paho-mqtt==1.6.1"


def made_once(base: Path, name: str, make: Callable[[Path], None]) -> Path:
    """The folder ``name``, which the first worker makes while the others wait."""
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    folder = shared / name
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = shared / f"{name}.made"
        if not done.exists():
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree."""

    def build(folder: Path) -> None:
        subprocess.run(
            [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(REPOSITORY)],
            check=True, capture_output=True, text=True,
        )  # fmt: skip

    (built,) = made_once(tmp_path_factory.getbasetemp(), "wheel", build).glob("*.whl")
    return built


@pytest.fixture(scope="session")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``bin`` of a fresh environment with the wheel, its dependencies and a paho-mqtt of the user's."""

    def install(folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
        done = subprocess.run(
            [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--constraint", _constraints(folder),
             str(wheel), OLD_PAHO],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode and os.environ.get("CI") != "true":
            pytest.skip(f"the dependencies cannot be installed here: {done.stderr.strip().splitlines()[-1]}")
        assert not done.returncode, done.stderr

    return made_once(tmp_path_factory.getbasetemp(), "environment", install) / "bin"


def _constraints(folder: Path) -> str:
    """The project's constraints but for paho-mqtt, of which the user has an older one."""
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    file = folder / "constraints.txt"
    file.write_text("\n".join(line for line in lines if not line.startswith("paho")), encoding="utf-8")
    return str(file)
