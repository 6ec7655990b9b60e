"""Where modules of ours are looked for: our own folder and what is installed before whatever the environment names."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from storefleet import own_python
from storefleet.own_python import OWN_FOLDER, module_path, own_process
from tests.lab.command_line import REPOSITORY

LIBRARY = str(Path(os.__file__).parent)
STANDARD = [f"{Path(LIBRARY).parent}/python.zip", LIBRARY, f"{LIBRARY}/lib-dynload"]
PACKAGES = ("fleetwire", "emulator", "parm_stub", "consumers", "chaos", "storefleet")


@pytest.mark.parametrize(
    ("given", "safe"),
    [
        (
            ["/script", "/project", *STANDARD, "/site", OWN_FOLDER],
            [*STANDARD, "/site", OWN_FOLDER, "/script", "/project"],
        ),
        (["/project", OWN_FOLDER, "/more", *STANDARD, "/site"], [*STANDARD, OWN_FOLDER, "/site", "/project", "/more"]),
        ([*STANDARD, "/site"], [*STANDARD, OWN_FOLDER, "/site"]),
        ([*STANDARD[1:], "/zip.zip/site", OWN_FOLDER], [*STANDARD[1:], "/zip.zip/site", OWN_FOLDER]),
        (["x", *STANDARD, OWN_FOLDER, "/site", "/site"], [*STANDARD, OWN_FOLDER, "/site", str(Path("x").absolute())]),
        (["/frozen"], ["/frozen"]),
    ],
)
def test_the_order_of_folders(given: list[str], safe: list[str]) -> None:
    """By whether we are installed, or are in a folder that the environment names; nothing is dropped."""
    assert module_path(given) == safe
    assert module_path(safe) == safe


def test_our_packages_in_a_folder_of_pythonpath(tmp_path: Path) -> None:
    """As after ``pip install --target``: command and processes find all of it there, beside a project that shadows it."""
    target, project = tmp_path / "target", tmp_path / "project"
    target.mkdir()
    for package in PACKAGES:
        (target / package).symlink_to(REPOSITORY / package)
    (project / "emulator").mkdir(parents=True)
    for name in ("emulator/__init__.py", "msgspec.py", "json.py"):
        (project / name).write_text("raise SystemExit('of the project')\n", encoding="utf-8")
    venv.create(tmp_path / "venv")
    python = tmp_path / "venv/bin/python"
    path = os.pathsep.join(map(str, (project, target, sysconfig.get_path("purelib"))))
    environment = {**os.environ, "PYTHONPATH": path, "STOREFLEET_HOME": str(tmp_path / "home")}
    status = subprocess.run(
        [python, "-P", "-m", "storefleet", "status"], env=environment, capture_output=True, text=True, check=False
    )
    assert (status.returncode, status.stderr) == (2, "storefleet: no lab is running here; start one: storefleet up\n")
    stage = subprocess.run(
        [python, "-P", "-c", RUN_A_STAGE], env=environment, cwd=project, capture_output=True, text=True, check=False
    )
    assert stage.returncode == 2
    assert "STOREFLEET_STAGE is not set: a stage is started by the lab" in stage.stderr


RUN_A_STAGE = """
import os, sys
sys.path = [folder for folder in sys.path if folder != os.getcwd()]
import subprocess
sys.path[:0] = ["", os.getcwd()]
from storefleet.own_python import own_process
own = own_process("emulator")
raise SystemExit(subprocess.run(own.command, env=own.environment).returncode)
"""


def test_what_a_process_is_told_leaves_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's stage, started by a process of ours, finds the variables of Python as they were, and none of ours."""
    monkeypatch.setenv("PYTHONPATH", "/project")
    monkeypatch.setenv("PYTHONOPTIMIZE", "2")
    own = own_process("timeit", "-n1", "-r1", "import os; print(sorted(os.environ.items())); assert 0")
    done = subprocess.run(own.command, env=own.environment, capture_output=True, text=True, check=False)
    assert "('PYTHONPATH', '/project')" in done.stdout
    assert "('PYTHONOPTIMIZE', '2')" in done.stdout
    assert "STOREFLEET_MODULE_PATH" not in done.stdout
    assert "AssertionError" in done.stderr, "and an assertion is one"


@pytest.mark.parametrize(
    ("variables", "again"), [({}, False), ({"PYTHON_VERSION": "3.11"}, False), ({"PYTHONWARNINGS": "error"}, True)]
)
def test_python_is_started_again_only_where_it_was_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], again: bool
) -> None:
    """It takes time: an image's own variables are no reason."""
    for name in [name for name in os.environ if name.startswith("PYTHON")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execve", lambda _program, words, _environment: started.append(words))
    monkeypatch.setattr(sys, "path", list(sys.path))
    own_python.enter()
    assert bool(started) == again
    assert sys.path == module_path(sys.path)
