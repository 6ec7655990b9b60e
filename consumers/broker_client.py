"""A consumer's one MQTT session, made from its settings: fixed client id, resumed for 30 s, no wait for the broker."""

from __future__ import annotations

import ssl
from typing import Final

from fleetwire.errors import SettingsError
from fleetwire.host_presence import HostPresence
from fleetwire.mqtt import Endpoint, SessionOptions, StageClient
from fleetwire.settings import StageSettings

SESSION_EXPIRY_S: Final = 30
BACKLOG_LIMIT: Final = 5_000


def broker_client(settings: StageSettings, presence: HostPresence) -> StageClient:
    """The client, not open yet; raises SettingsError. Entering it returns at once, connected or not."""
    tls = _context(settings.broker_ca_file) if settings.broker_ca_file else None
    options = SessionOptions(
        client_id=settings.client_id or f"{settings.stage}-{settings.instance}",
        username=settings.username or None,
        password=settings.password(),
        session_expiry_s=SESSION_EXPIRY_S,
    )
    return StageClient(
        Endpoint.parse(settings.broker_url, tls=tls),
        options,
        will=presence.will,
        on_disconnected=presence.lost,
        backlog_limit=BACKLOG_LIMIT,
        ready_timeout_s=None,
    )


def _context(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"STOREFLEET_BROKER_CA_FILE={ca_file}: {error}") from error
