"""Settings: what the lab writes into an environment is what a stage reads, and a wrong value is named."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetwire.errors import SettingsError
from fleetwire.settings import PREFIX, VARIABLES, StageSettings, from_environment, read_address, read_secret

TEXTS = st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), max_size=20)
COUNTS = st.integers(1, 10**6)
SECONDS = st.floats(-1e10, 1e10)
SETTINGS = st.builds(
    StageSettings,
    stage=TEXTS,
    instance=COUNTS,
    instances=COUNTS,
    incarnation=COUNTS,
    outcomes=st.booleans(),
    real_start_s=SECONDS,
    business_start_s=SECONDS,
    time_scale=st.floats(0.01, 1e5),
    **dict.fromkeys(("client_id", "broker_url", "topic_root", "state_dir", "brands", "control", "options"), TEXTS),
)


@given(SETTINGS)
def test_settings_come_back_from_their_environment(settings: StageSettings) -> None:
    """The variables of any settings give exactly these settings, beside whatever else the environment holds."""
    environment = {"PATH": "/bin", PREFIX + "HOME": "somewhere", **settings.environment()}
    assert from_environment(environment) == settings


def test_the_list_is_complete() -> None:
    """The documented variables are the fields, one for one, in their order."""
    fields = [field.name.upper() for field in msgspec.structs.fields(StageSettings)]
    assert [*VARIABLES] == fields
    assert [*StageSettings(stage="parm").environment()] == [PREFIX + name for name in fields]


def test_the_processes_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without another one given, the process's own environment counts; what is not set has its default."""
    monkeypatch.setenv(f"{PREFIX}STAGE", "parm")
    monkeypatch.setenv(f"{PREFIX}OUTCOMES", "1")
    assert from_environment() == StageSettings(stage="parm", outcomes=True)


def test_a_stage_needs_its_name() -> None:
    """Without a stage's name the error says how a stage is started."""
    with pytest.raises(SettingsError, match="STOREFLEET_STAGE is not set: a stage is started by the lab"):
        from_environment({})


@pytest.mark.parametrize(
    ("name", "value"),
    [("INSTANCE", "two"), ("INSTANCE", "0"), ("INSTANCES", "-1"), ("INCARNATION", "1.5"), ("INCARNATION", ""),
     ("OUTCOMES", "perhaps"), ("TIME_SCALE", "fast"), ("TIME_SCALE", "0"), ("TIME_SCALE", "-1"), ("TIME_SCALE", "nan"),
     ("REAL_START_S", "noon"), ("BUSINESS_START_S", "x" * 10_000)],
)  # fmt: skip
def test_a_wrong_value_is_named(name: str, value: str) -> None:
    """A wrong value is told with the variable's own name and what it should have been, in one short line."""
    with pytest.raises(SettingsError, match=f"^{PREFIX}{name}=.*: expected ") as caught:
        from_environment({f"{PREFIX}STAGE": "parm", PREFIX + name: value})
    assert len(str(caught.value)) < 250
    assert "\n" not in str(caught.value)


def test_what_settings_say() -> None:
    """Clock, dialects and addresses are read out of the settings."""
    settings = StageSettings(
        stage="parm", brands="taco=nested,bagel=compact", listen="[::1]:80",
        real_start_s=1.0, business_start_s=2.0, time_scale=3.0,
    )  # fmt: skip
    assert settings.dialects == {"taco": "nested", "bagel": "compact"}
    assert StageSettings(stage="parm").dialects == {}
    assert settings.listen_address == ("::1", 80)
    assert settings.clock == (1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    "text", ["", "host", ":80", "host:", "host:x", "host:-1", "host:65536", "host:²", "host:٣", f"host:{'9' * 5_000}"]
)
def test_what_is_no_address(text: str) -> None:
    """What is no host and port is refused with the variable's name."""
    with pytest.raises(SettingsError, match=f"^{PREFIX}CONTROL="):
        read_address(text, "CONTROL")


def test_addresses() -> None:
    """Names, IPv4 and bracketed IPv6 addresses are read, with every port there is."""
    assert read_address("localhost:0", "LISTEN") == ("localhost", 0)
    assert read_address("127.0.0.1:65535", "LISTEN") == ("127.0.0.1", 65535)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o602, 0o610])
def test_a_secret_that_others_may_touch(tmp_path: Path, mode: int) -> None:
    """A secret file that anybody else may read, write or run is refused, told how to mend it, and not quoted."""
    file = tmp_path / "secret"
    file.write_text("top secret\n")
    file.chmod(mode)
    with pytest.raises(SettingsError, match="readable by others: chmod 600") as caught:
        read_secret(str(file))
    assert "top secret" not in str(caught.value)


def test_secrets(tmp_path: Path) -> None:
    """Of a private file the first line is the secret; without a file there is none."""
    file = tmp_path / "secret"
    file.touch(mode=0o600)
    file.write_text("pässword with = and spaces \nanother line\n", encoding="utf-8")
    settings = StageSettings(stage="parm", password_file=str(file), token_file=str(file))
    assert settings.password() == "pässword with = and spaces ".encode()
    assert settings.token() == "pässword with = and spaces "
    assert StageSettings(stage="parm").password() is None
    assert StageSettings(stage="parm").token() == ""
    assert not any("pässword" in value for value in settings.environment().values())


def test_unreadable_secrets(tmp_path: Path) -> None:
    """A secret file that is missing, a folder or no text is a settings error that names it."""
    binary = tmp_path / "binary"
    binary.touch(mode=0o600)
    binary.write_bytes(b"\xff\xfe")
    for path in (tmp_path / "missing", tmp_path, binary, Path(os.devnull) / "x"):
        with pytest.raises(SettingsError, match=f"secret file {path}"):
            read_secret(str(path))
