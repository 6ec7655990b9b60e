"""Every error of storefleet has one root, and says whether the thing that failed may have happened all the same.

    FleetError
    ├── SettingsError          an option, file or environment variable is wrong: nothing has begun (exit status 2)
    ├── BadPayload             a message that no stage can use; carries the reason code of its dead letter
    ├── ControlError           the control plane refused, or its peer went away
    ├── StorageError           a database or file could not keep what it was given
    ├── GatewayError           the document gateway refused a request or did not answer
    └── fleetwire.mqtt.errors  everything between us and a broker

``definite`` is the word of Jepsen's error registry: ``True`` means that the operation surely did not happen, ``False``
that it may have happened and only the answer was lost. A checker may count only definite failures as failures.
"""

from __future__ import annotations


class FleetError(Exception):
    """Root of all errors raised on purpose; the message says what happened, where, and what to do next."""

    definite: bool = True


class SettingsError(FleetError):
    """Something that the user gave is unusable; one clear line, exit status 2."""


class BadPayload(FleetError):
    """A message that cannot be used; ``reason`` is one of :data:`fleetwire.reasons.REASONS`, ``detail`` says where."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class ControlError(FleetError):
    """The control plane refused a call (definite), or its connection ended before the answer (not definite)."""

    def __init__(self, message: str, *, definite: bool = True) -> None:
        super().__init__(message)
        self.definite = definite


class StorageError(FleetError):
    """A local database or file refused a write; nothing of that write was kept."""


class GatewayError(FleetError):
    """The gateway answered with an error (definite), or not at all (not definite).

    ``cut_off``: a connection stood, and ended before the answer was complete.
    """

    def __init__(
        self, message: str, *, status: int | None = None, definite: bool = True, cut_off: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.definite = definite
        self.cut_off = cut_off
