"""Where a broker is, and whom to trust there: the one place that reads a certificate authority."""

from __future__ import annotations

import ssl

from fleetwire.errors import SettingsError
from fleetwire.mqtt import Endpoint
from fleetwire.settings import PREFIX, StageSettings

CA_VARIABLE = f"{PREFIX}BROKER_CA_FILE"


def trust(ca_file: str) -> ssl.SSLContext:
    """Certificates are checked against this authority alone, the system's where it is empty; raises SettingsError."""
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:  # an SSLError is one too
        reason = "no certificate is in it" if isinstance(error, ssl.SSLError) else error.strerror
        raise SettingsError(
            f"certificate authority {ca_file}: {reason}; name a PEM file by --broker-ca-file or {CA_VARIABLE}"
        ) from error


def broker_endpoint(url: str, ca_file: str) -> Endpoint:
    """The broker of a URL; raises SettingsError or InvalidEndpoint."""
    return Endpoint.parse(url, tls=trust(ca_file) if ca_file else None)


def endpoint_of(settings: StageSettings) -> Endpoint:
    """The broker of these settings; raises SettingsError or InvalidEndpoint."""
    return broker_endpoint(settings.broker_url, settings.broker_ca_file)
