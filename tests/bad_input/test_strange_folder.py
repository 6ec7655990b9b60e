"""A space and a letter beyond ASCII in every path change nothing: fleet file, home, runs and working folder."""

from __future__ import annotations

from pathlib import Path

from tests.lab.command_line import CommandLine


def test_a_run_in_a_strangely_named_folder(tmp_path: Path) -> None:
    """A lab lives, is asked and judged, and its verdict is valid, in a folder named with a space and an umlaut."""
    folder = tmp_path / "Filiale Köln, №7 'x'"
    folder.mkdir()
    (folder / "meine Kette.toml").write_text("stores = 2\nterminals_per_store = 2\n", encoding="utf-8")
    command_line = CommandLine(folder)
    try:
        lab = command_line.up("--fleet", "meine Kette.toml", "--instances", "parm=2")
        lab.wait_for_trade(total=20)
        command_line.run("wait", "--converged")
        assert "what it did" in command_line.run("trace", "--last").stdout
        assert len(command_line.run("tail", "--count", 3).stdout.splitlines()) == 3
        assert lab.down()["validity"] == "valid"
        assert command_line.json("verdict", lab.run_folder)["validity"] == "valid"
    finally:
        command_line.end_leftovers()
