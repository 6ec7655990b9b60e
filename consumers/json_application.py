"""Litestar for what our stages serve: JSON in msgspec's shapes."""

from litestar import Litestar
from litestar.plugins import PluginProtocol
from litestar.plugins.core import MsgspecDIPlugin


class JsonApplication(Litestar):
    """Imports no support for shapes that nobody uses here; pydantic's alone is a sixth of a stage's start."""

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        return [*plugins, MsgspecDIPlugin()]
