"""A name that has the addresses that a test gives it."""

from __future__ import annotations

from fleetwire.dialling import Address, Dialler, in_turn


class Named(Dialler):
    """Not looked up: what a resolver would have answered is given."""

    def __init__(self, *addresses: Address) -> None:
        super().__init__("name.test", 1)
        self.addresses = list(addresses)

    async def _addresses(self) -> list[Address]:
        return in_turn(self.addresses)
