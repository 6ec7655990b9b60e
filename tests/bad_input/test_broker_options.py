"""What ``--broker-option`` takes: one line for our own broker's configuration, and nothing else."""

from __future__ import annotations

import pytest

from fleetwire.errors import SettingsError
from storefleet.broker import configuration
from storefleet.lab_options import check_broker_options


@pytest.mark.parametrize(
    "option", ["", "   ", "max_queued_messages 20\nlistener 1883 0.0.0.0", "a\tb", "a\x00", "x" * 201]
)
def test_what_is_not_one_line_is_refused(option: str) -> None:
    """Empty, too long, or with a control character: refused with what is expected."""
    with pytest.raises(SettingsError, match="expected one line of mosquitto"):
        check_broker_options([option], "local")


def test_somebody_elses_broker_is_not_configured() -> None:
    """An option for a broker that is not ours would do nothing, so it is refused."""
    with pytest.raises(SettingsError, match="only our own broker"):
        check_broker_options(["max_queued_messages 20"], "mqtt://broker.test")


def test_options_come_last_in_the_configuration() -> None:
    """So they replace what we say ourselves."""
    lines = configuration(1883, 10, check_broker_options([" max_queued_messages 20 "], "local")).splitlines()
    assert lines[-1] == "max_queued_messages 20"
    assert any(line.startswith("max_queued_messages ") for line in lines[:-1])
