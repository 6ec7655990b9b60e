"""A consumer's one MQTT session, made from its settings: fixed client id, resumed for 30 s, no wait for the broker."""

from __future__ import annotations

from typing import Final

from fleetwire.broker_endpoint import endpoint_of
from fleetwire.host_presence import HostPresence
from fleetwire.mqtt import SessionOptions, StageClient
from fleetwire.settings import StageSettings

SESSION_EXPIRY_S: Final = 30
BACKLOG_LIMIT: Final = 5_000


def broker_client(settings: StageSettings, presence: HostPresence) -> StageClient:
    """The client, not open yet; raises SettingsError or InvalidEndpoint. Entering it returns at once, connected or not."""
    options = SessionOptions(
        client_id=settings.client_id or f"{settings.stage}-{settings.instance}",
        username=settings.username or None,
        password=settings.password(),
        session_expiry_s=SESSION_EXPIRY_S,
    )
    return StageClient(
        endpoint_of(settings),
        options,
        will=presence.will,
        on_disconnected=presence.lost,
        backlog_limit=BACKLOG_LIMIT,
        ready_timeout_s=None,
    )
