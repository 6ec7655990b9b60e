"""Poseidon: registers and orders from the changes feed; it tells every terminal what is applied."""
