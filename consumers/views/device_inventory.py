"""The device inventory: what management knows of every terminal, the greatest ``(boot, bd_seq)`` of each."""

from __future__ import annotations

from consumers.views.registers import RegisterView
from fleetwire.documents import DEVICE_CHANNEL, DEVICE_PREFIX, DeviceDocument


class DeviceInventoryView(RegisterView[DeviceDocument]):
    """The View of channel ``device``."""

    name = "device_inventory"
    path = "device-inventory"
    channel = DEVICE_CHANNEL
    prefix = DEVICE_PREFIX
    shape = DeviceDocument

    def register_name(self, document: DeviceDocument) -> str:
        """The terminal's id."""
        return document.terminal

    def version(self, document: DeviceDocument) -> tuple[int, int]:
        """Boot, then birth or death of it."""
        return document.boot, document.bd_seq

    def value(self, document: DeviceDocument) -> object:
        """What the emulator's own register says too."""
        return [document.online, document.boot, document.bd_seq]
