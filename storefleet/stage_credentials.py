"""A credential for each instance of a stage, so that nobody speaks for another: derived from a secret that no disk has.

A credential opens the control plane for exactly one stage and instance. It is written down for its process alone (mode
0600, in the lab's folder); the secret that all are derived from lives and dies with the lab's process.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path

from storefleet import home

SECRET_BYTES = 32


class StageCredentials:
    """The credentials of one lab."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(SECRET_BYTES)

    def of(self, stage: str, instance: int) -> str:
        """The credential of one instance, 64 hexadecimal digits."""
        return hmac.new(self._secret, f"{stage}/{instance}".encode(), hashlib.sha256).hexdigest()

    def opens(self, text: str, stage: str, instance: int) -> bool:
        """Whether the text is the credential of this instance."""
        return hmac.compare_digest(text.encode(), self.of(stage, instance).encode())

    def write(self, folder: Path, stage: str, instance: int) -> None:
        """Write the credential down for its process."""
        home.write_private(credential_file(folder, stage, instance), self.of(stage, instance))


def credential_file(folder: Path, stage: str, instance: int) -> Path:
    """Where the credential of an instance lies in its lab's folder."""
    return folder / f"{stage}-{instance}.credential"
