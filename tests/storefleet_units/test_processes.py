"""The gate in front of every process of a lab: nothing begins before it is written down who it is."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from storefleet.process_identity import identify
from storefleet.processes import BEHIND_A_GATE

DEADLINE_S = 60.0


@pytest.mark.parametrize(("said", "begins"), [(b"", False), (b"\n", True)], ids=["its lab died", "its lab lives"])
def test_a_process_begins_when_its_lab_says_so(tmp_path: Path, said: bytes, begins: bool) -> None:
    """Without a word it ends and never becomes what it was to be; with it, it does, under the same identity."""
    made = tmp_path / "made"
    command = (*BEHIND_A_GATE, "sh", "-c", 'echo $$ > "$1"; test "$0" = "a b" && ! read -r _', "a b", str(made))
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        identity = identify(process.pid)
        process.communicate(said, timeout=DEADLINE_S)
    assert (process.returncode == 0, made.exists()) == (begins, begins)
    if begins:
        assert int(made.read_text(encoding="utf-8")) == identity.process_id
