"""What Poseidon says of registers and orders: questions to its facts, on a connection that only reads."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from fleetwire.closing_on_error import closing_on_error
from fleetwire.effects import SETTLEMENT
from fleetwire.identity import Key

MAXIMUM_REGISTERS: Final = 1_000

_OPERATOR = """
SELECT operator_id, control_type FROM control WHERE source = ? AND control_type IN ('SIGN_ON', 'SIGN_OFF')
ORDER BY sequence DESC LIMIT 1
"""
_LAST_SETTLEMENT = f"""
SELECT coalesce(max(sequence), 0) FROM till_movement WHERE source = ? AND control_type = '{SETTLEMENT}'
"""  # noqa: S608 - a constant
_MOVED = "SELECT coalesce(sum(cents), 0) FROM till_movement WHERE source = ? AND sequence > ?"
_CASH = "SELECT coalesce(sum(cash_cents), 0) FROM receipt WHERE source = ? AND sequence > ?"
_VOIDED_CASH = """
SELECT coalesce(sum(receipt.cash_cents), 0)
FROM reference JOIN receipt ON receipt.source = reference.source
  AND receipt.sequence = CAST(substr(reference.referred_key, length(:id) + 2) AS INTEGER)
  AND reference.referred_key = :id || '.' || receipt.sequence
WHERE reference.source = :source AND reference.kind = 'VOID' AND reference.sequence > :after
"""
_DAY = """
SELECT business_day_date FROM (
  SELECT sequence, business_day_date FROM receipt WHERE source = :source
  UNION ALL SELECT sequence, business_day_date FROM reference WHERE source = :source
  UNION ALL SELECT sequence, business_day_date FROM control WHERE source = :source
) ORDER BY sequence DESC LIMIT 1
"""
_SALES = """
SELECT coalesce(sum(sales_count), 0), coalesce(sum(sales_cents), 0) FROM receipt
WHERE source = ? AND business_day_date = ?
"""
_VOIDS = """
SELECT count(*), coalesce(sum(grand_cents), 0) FROM reference
WHERE source = ? AND business_day_date = ? AND kind = 'VOID'
"""
_RECEIPT = """
SELECT transaction_type, business_day_date, receipt_number, end_time, training, net_cents, tax_cents, grand_cents
FROM receipt WHERE source = ? AND sequence = ?
"""
_REFERENCES = """
SELECT source.id, reference.sequence, kind FROM reference JOIN source ON source.number = reference.source
WHERE referred_key = ? ORDER BY source.id, reference.sequence LIMIT 100
"""
_LIKE_STORE = "SELECT number, id FROM source WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"


class Register(Struct, kw_only=True):
    """One terminal's till, as far as its events are here."""

    terminal: str
    last_sequence: int
    operator_id: str
    """Who is signed on; empty when nobody is."""
    expected_cash_cents: int
    """What should be in the drawer since it was settled last."""
    business_day_date: str
    sales_count: int
    gross_cents: int
    """Signed cents of all receipts of the business day; voids come on top."""
    voids_count: int
    voided_cents: int


class Order(Struct, kw_only=True):
    """One receipt; ``known`` is False when only a return or void of it has come so far."""

    key: str
    known: bool
    transaction_type: str = ""
    business_day_date: str = ""
    receipt_number: str = ""
    end_time: str = ""
    training: bool = False
    net_cents: int = 0
    tax_cents: int = 0
    grand_cents: int = 0
    voided_by: list[str]
    returned_by: list[str]


class Reads:
    """Answers from the file; ``close`` it. Every answer is of one moment."""

    def __init__(self, path: Path) -> None:
        with closing_on_error(sqlite3.connect(path, isolation_level=None)) as self._connection:
            self._connection.execute("PRAGMA query_only = ON")

    def close(self) -> None:
        """Release the file."""
        self._connection.close()

    def register(self, terminal: str) -> Register | None:
        """The register of one terminal; None when nothing of it was ever applied."""
        row = self._one("SELECT number FROM source WHERE id = ?", terminal)
        return self._register(row[0], terminal) if row else None

    def registers(self, store: str) -> list[Register]:
        """All registers of one store, at most MAXIMUM_REGISTERS."""
        rows = self._connection.execute(_LIKE_STORE, (f"{store}.", f"{store}/", MAXIMUM_REGISTERS)).fetchall()
        return [self._register(number, terminal) for number, terminal in rows]

    def order(self, key: Key) -> Order | None:
        """The order under this key; None when neither it nor a reference to it is here."""
        references = self._connection.execute(_REFERENCES, (str(key),)).fetchall()
        voided_by = [f"{source}.{sequence}" for source, sequence, kind in references if kind == "VOID"]
        returned_by = [f"{source}.{sequence}" for source, sequence, kind in references if kind == "RETURN"]
        number = self._one("SELECT number FROM source WHERE id = ?", key.source)
        row = self._one(_RECEIPT, number[0], key.sequence) if number else None
        if row is None:
            if not references:
                return None
            return Order(key=str(key), known=False, voided_by=voided_by, returned_by=returned_by)
        return Order(
            key=str(key),
            known=True,
            transaction_type=row[0],
            business_day_date=row[1],
            receipt_number=row[2],
            end_time=row[3],
            training=bool(row[4]),
            net_cents=row[5],
            tax_cents=row[6],
            grand_cents=row[7],
            voided_by=voided_by,
            returned_by=returned_by,
        )

    def _register(self, number: int, terminal: str) -> Register:
        operator = self._one(_OPERATOR, number)
        day = self._one(_DAY, {"source": number})
        sales = self._one(_SALES, number, day[0]) if day else (0, 0)
        voids = self._one(_VOIDS, number, day[0]) if day else (0, 0)
        return Register(
            terminal=terminal,
            last_sequence=self._one("SELECT max(sequence) FROM applied WHERE source = ?", number)[0] or 0,
            operator_id=operator[0] if operator and operator[1] == "SIGN_ON" else "",
            expected_cash_cents=self._expected_cash_cents(number, terminal),
            business_day_date=day[0] if day else "",
            sales_count=sales[0],
            gross_cents=sales[1],
            voids_count=voids[0],
            voided_cents=voids[1],
        )

    def _expected_cash_cents(self, number: int, terminal: str) -> int:
        settled = self._one(_LAST_SETTLEMENT, number)[0]
        moved: int = self._one(_MOVED, number, settled)[0]
        taken: int = self._one(_CASH, number, settled)[0]
        voided: int = self._one(_VOIDED_CASH, {"id": terminal, "source": number, "after": settled})[0]
        return moved + taken - voided

    def _one(self, query: str, *values: object) -> Any:
        parameters = values[0] if len(values) == 1 and isinstance(values[0], dict) else values
        return self._connection.execute(query, parameters).fetchone()
