"""docs/ci.md as two services would run it: its shell lines, in a project with the built wheel and an empty environment.

``sudo`` and ``apt-get`` only write down what they are asked: Mosquitto is here already, and no test installs packages.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from junitparser import JUnitXml

from storefleet.process_identity import end_all, identify
from tests.docs.console import Shell, read_page, require_printed
from tests.lab.command_line import REPOSITORY, CommandLine
from tests.packaging.conftest import made_once

PAGE = (REPOSITORY / "docs/ci.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.timeout(900)


def service(name: str) -> Any:
    """The file of one service, as the page shows it."""
    (text,) = re.findall(rf"^```yaml\n# {re.escape(name)}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return yaml.safe_load(text)


@pytest.fixture(scope="session")
def empty_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``bin`` of an environment in which nothing is installed."""

    def make(folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)

    return made_once(tmp_path_factory.getbasetemp(), "empty", make) / "bin"


class Project(CommandLine):
    """Somebody's project, as a service has checked it out, with the page's shell lines run in it."""

    def __init__(self, folder: Path, environment: Path) -> None:
        super().__init__(folder)
        self.asked = folder / "asked.txt"
        tools = folder / "tools"
        tools.mkdir()
        for tool, then in (("apt-get", ""), ("sudo", '\nexec "$@"')):
            (tools / tool).write_text(f'#!/bin/sh\necho {tool} "$@" >>{shlex.quote(str(self.asked))}{then}\n')
            (tools / tool).chmod(0o755)
        self.environment["PATH"] = f"{tools}:{environment}:{os.environ['PATH']}"
        self.environment["CI_PROJECT_DIR"] = str(folder)
        self.environment.pop("PYTHONPATH", None)
        (folder / "ci").mkdir()
        shutil.copy(REPOSITORY / "examples/my_parm.py", folder)
        shutil.copy(REPOSITORY / "examples/one_brand.toml", folder / "ci/fleet.toml")

    def step(self, lines: str) -> int:
        """Run a step with the options that both services give bash; its exit status."""
        with (self.folder / "output.txt").open("a") as output:
            done = subprocess.run(
                ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", lines],
                cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                check=False, timeout=600,
            )  # fmt: skip
        return done.returncode

    def spoil(self) -> None:
        """Somebody has changed the stage under test: every event now belongs to another business day."""
        file = self.folder / "my_parm.py"
        good = file.read_text(encoding="utf-8")
        bad = good.replace('raw["BusinessDayDate"]', '"2020-02-02"')
        assert bad != good
        file.write_text(bad, encoding="utf-8")


@pytest.fixture
def project(tmp_path: Path, empty_environment: Path) -> Iterator[Project]:
    """The project, with the wheel built as the page says."""
    project = Project(tmp_path, empty_environment)
    shell = Shell(REPOSITORY, {**os.environ, "YOUR_PROJECT": str(tmp_path)})
    for command in read_page(PAGE).commands:
        status, said = shell.type(command.text.replace(".venv/bin", sysconfig.get_path("scripts")))
        assert status == 0, said
        require_printed(command, said)
    shell.close()
    yield project
    end_all([identify(process_id) for process_id in project.leftovers()])


def test_github_actions(project: Project) -> None:
    """The steps that are shell install what they need, and pass."""
    job = service(".github/workflows/fleet.yml")["jobs"]["fleet"]
    install, trade = [step["run"] for step in job["steps"] if "run" in step]
    assert project.step(install) == 0, project.output
    assert "mosquitto" in project.asked.read_text(encoding="utf-8")
    assert project.step(trade) == 0, project.output
    assert "VALID" in project.output
    reports = [step["with"]["report_paths"] for step in job["steps"] if "report_paths" in step.get("with", {})]
    (report,) = [file for pattern in reports for file in project.folder.glob(pattern)]
    assert JUnitXml.fromfile(str(report)).failures == 0
    (kept,) = [step["with"]["path"] for step in job["steps"] if "upload" in step.get("uses", "")]
    assert report.is_relative_to(project.folder / kept)


def test_gitlab_ci(project: Project) -> None:
    """The job fails with what the verdict says when somebody has spoiled the stage; the run folder and JUnit are kept."""
    job = service(".gitlab-ci.yml")["fleet"]
    assert project.step("\n".join(job["before_script"])) == 0, project.output
    assert "mosquitto" in project.asked.read_text(encoding="utf-8")
    project.spoil()
    assert project.step("\n".join(job["script"])) == 1, project.output
    assert "INVALID" in project.output
    kept = job["artifacts"]
    (report,) = project.folder.glob(kept["reports"]["junit"])
    assert JUnitXml.fromfile(str(report)).failures > 0
    assert [report.is_relative_to(project.folder / path) for path in kept["paths"]] == [True]
    assert job["retry"]["exit_codes"] == 3


def test_an_unknown_verdict_is_tried_once_more(project: Project) -> None:
    """Exit status 3 alone: the second result counts, whatever it is; 1 is not tried again."""
    steps = service(".github/workflows/fleet.yml")["jobs"]["fleet"]["steps"]
    trade = steps[-3]["run"]
    assert "fleet()" in trade
    stand_in = project.folder / "tools/storefleet"
    for answers, expected, calls in (([3, 0], 0, 2), ([3, 1], 1, 2), ([3, 3], 3, 2), ([1], 1, 1), ([0], 0, 1)):
        said = project.folder / "answers.txt"
        said.write_text("".join(f"{answer}\n" for answer in answers), encoding="utf-8")
        (project.folder / "calls.txt").write_text("", encoding="utf-8")
        stand_in.write_text(
            f"#!/bin/sh\ncd {shlex.quote(str(project.folder))}\necho >>calls.txt\n"
            "answer=$(head -n 1 answers.txt); sed -i 1d answers.txt; exit $answer\n"
        )
        stand_in.chmod(0o755)
        assert project.step(trade) == expected, answers
        assert len((project.folder / "calls.txt").read_text().splitlines()) == calls, answers
