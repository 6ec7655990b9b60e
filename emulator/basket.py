"""What was bought and how it was paid: a pure function of (seed, terminal, sequence).

Because it is, a till keeps only the numbers of its recent sales: a void or a return makes the sale again from its
number. Money is integer cents; tax is rounded half away from zero, line by line, so a return takes back exactly what
was sold.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from emulator.draws import Draws, Weighted
from emulator.fleet import TerminalPlan
from emulator.menu import menu
from fleetwire.events import LineItem, Tender

LINE_COUNTS: Final = Weighted([(1, 25), (2, 30), (3, 20), (4, 12), (5, 8), (8, 5)])
QUANTITIES: Final = Weighted([(1, 80), (2, 15), (3, 5)])
TENDERS: Final = Weighted([("CASH", 25), ("CREDIT_DEBIT", 55), ("WALLET", 14), ("GIFT_CARD", 6)])
CASHLESS_TENDERS: Final = Weighted([("CREDIT_DEBIT", 70), ("WALLET", 25), ("GIFT_CARD", 5)])
CARD_ENTRIES: Final = Weighted([("CHIP", 40), ("CONTACTLESS", 50), ("SWIPE", 7), ("KEYED", 3)])
BANK_NOTES_CENTS: Final = (500, 1000, 2000)
DISCOUNTED_PER_MILLE: Final = 80
SPLIT_PER_MILLE: Final = 30


class Basket(NamedTuple):
    """The lines of one sale with their sums."""

    lines: list[LineItem]
    net_cents: int
    tax_cents: int

    @property
    def grand_cents(self) -> int:
        """What the guest owes."""
        return self.net_cents + self.tax_cents


def basket_of(plan: TerminalPlan, sequence: int) -> Basket:
    """What the sale with this number sold."""
    draws = Draws(plan.seed, plan.id, "basket", sequence)
    rate = plan.region.tax_basis_points
    return _summed([_line(draws, plan.brand.menu, number, rate) for number in range(1, LINE_COUNTS.draw(draws) + 1)])


def returned_part(basket: Basket, draws: Draws) -> Basket:
    """One line of the sale, or the whole of it, taken back."""
    lines = basket.lines if draws.happens(300) else [draws.pick(basket.lines)]
    return _summed([_taken_back(line, number) for number, line in enumerate(lines, start=1)])


def tenders_of(plan: TerminalPlan, sequence: int, grand_cents: int) -> list[Tender]:
    """How that sale was paid; the amounts add up to ``grand_cents``."""
    draws = Draws(plan.seed, plan.id, "tenders", sequence)
    choice = CASHLESS_TENDERS if plan.kind == "kiosk" else TENDERS
    kind = choice.draw(draws)
    if kind == "CASH":
        return _cash(draws, grand_cents)
    if draws.happens(SPLIT_PER_MILLE) and grand_cents > 1000:
        return [_cashless(draws, "GIFT_CARD", 500), _cashless(draws, "CREDIT_DEBIT", grand_cents - 500)]
    return [_cashless(draws, kind, grand_cents)]


def cash_cents(tenders: list[Tender]) -> int:
    """How much of it went into the drawer."""
    return sum(tender.amount_cents for tender in tenders if tender.tender_type == "CASH")


def refund_of(tenders: list[Tender], grand_cents: int) -> Tender:
    """The money back (``grand_cents`` is negative), by the means that paid most."""
    paid = max(tenders, key=lambda tender: tender.amount_cents)
    return Tender(paid.tender_type, grand_cents, paid.entry_mode, paid.masked_pan, paid.authorization_code)


def tax_on(amount_cents: int, basis_points: int) -> int:
    """Tax on an amount, rounded half away from zero: ``tax_on(-x) == -tax_on(x)``."""
    magnitude = (abs(amount_cents) * basis_points + 5_000) // 10_000
    return -magnitude if amount_cents < 0 else magnitude


def _line(draws: Draws, menu_name: str, number: int, tax_basis_points: int) -> LineItem:
    item = draws.pick(menu(menu_name))
    quantity = QUANTITIES.draw(draws)
    full_cents = quantity * item.price_cents
    discount_cents = full_cents // 10 if draws.happens(DISCOUNTED_PER_MILLE) else 0
    extended_cents = full_cents - discount_cents
    return LineItem(
        line=number,
        item_id=item.item_id,
        gtin=item.gtin,
        description=item.description,
        quantity=quantity,
        unit_price_cents=item.price_cents,
        discount_cents=discount_cents,
        extended_cents=extended_cents,
        tax_cents=tax_on(extended_cents, tax_basis_points),
    )


def _taken_back(line: LineItem, number: int) -> LineItem:
    return LineItem(
        line=number,
        item_id=line.item_id,
        gtin=line.gtin,
        description=line.description,
        quantity=-line.quantity,
        unit_price_cents=line.unit_price_cents,
        discount_cents=-line.discount_cents,
        extended_cents=-line.extended_cents,
        tax_cents=-line.tax_cents,
    )


def _summed(lines: list[LineItem]) -> Basket:
    return Basket(lines, sum(line.extended_cents for line in lines), sum(line.tax_cents for line in lines))


def _cash(draws: Draws, grand_cents: int) -> list[Tender]:
    note_cents = draws.pick(BANK_NOTES_CENTS)
    given_cents = -(-grand_cents // note_cents) * note_cents
    tenders = [Tender("CASH", given_cents, "NONE", "", "")]
    if given_cents > grand_cents:
        tenders.append(Tender("CASH", grand_cents - given_cents, "NONE", "", ""))
    return tenders


def _cashless(draws: Draws, kind: str, amount_cents: int) -> Tender:
    if kind == "WALLET":
        return Tender("WALLET", amount_cents, "CONTACTLESS", f"************{draws.digits(4)}", draws.digits(6))
    if kind == "GIFT_CARD":
        return Tender("GIFT_CARD", amount_cents, "SWIPE", "", draws.digits(8))
    entry = CARD_ENTRIES.draw(draws)
    return Tender("CREDIT_DEBIT", amount_cents, entry, f"************{draws.digits(4)}", draws.digits(6))  # type: ignore[arg-type]
