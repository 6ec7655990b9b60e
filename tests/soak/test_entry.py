"""However a script of the soak cannot begin, it says so in one line."""

from __future__ import annotations

import errno

import pytest

from fleetwire.errors import FleetError
from storefleet.soak.entry import run_script


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (FleetError("no lab"), "no lab"),
        (
            OSError(errno.ENOSPC, "No space left on device", "runs/x"),
            "No space left on device: runs/x; is the disk full",
        ),
    ],
)
def test_errors_are_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    line: str,
) -> None:
    """Also what the disk refuses, which is no error of ours."""
    monkeypatch.setattr("sys.argv", ["scripts/any"])

    def command() -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        run_script(command, "scripts/any")
    shown = capsys.readouterr().err
    assert ended.value.code == 2
    assert shown.startswith(f"storefleet: {line}")
    assert shown.count("\n") == 1
