"""What a till remembers of its business, and the body of every event that changes it.

A till remembers its number, the cash in the drawer, the numbers of its last few sales (a sale is made again from its
number, see ``basket``) and the states of its peripherals. Totals add up by construction; a sale is taken back at most
once, and only on the business day on which it was made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from msgspec import Struct

from emulator.basket import Basket, basket_of, cash_cents, refund_of, returned_part, tenders_of
from emulator.draws import Draws
from emulator.fleet import Kind, TerminalPlan
from fleetwire.clock import utc_text
from fleetwire.events import (
    ControlTransaction,
    RetailTransaction,
    Tender,
    TenderControlTransaction,
    TerminalAlert,
    VoidTransaction,
)
from fleetwire.identity import Key

Component = Literal["PRINTER", "CASH_DRAWER", "CARD_READER", "BATTERY", "NETWORK"]
Severity = Literal["INFO", "WARNING", "CRITICAL"]
ServiceMode = Literal["COUNTER", "DRIVE_THROUGH", "KIOSK"]

COMPONENTS: Final[tuple[tuple[Component, tuple[tuple[str, Severity], ...]], ...]] = (
    ("PRINTER", (("OK", "INFO"), ("PAPER_LOW", "WARNING"), ("PAPER_OUT", "CRITICAL"))),
    ("CASH_DRAWER", (("CLOSED", "INFO"), ("LEFT_OPEN", "WARNING"))),
    ("CARD_READER", (("READY", "INFO"), ("UPDATING", "INFO"), ("OFFLINE", "CRITICAL"))),
    ("BATTERY", (("CHARGED", "INFO"), ("LOW", "WARNING"))),
    ("NETWORK", (("ONLINE", "INFO"), ("WEAK", "WARNING"))),
)
"""Each component goes through its states in turn: (state, severity of reaching it)."""

SERVICE_MODES: Final[dict[Kind, ServiceMode]] = {
    "register": "COUNTER",
    "drive_through": "DRIVE_THROUGH",
    "kiosk": "KIOSK",
    "kitchen_display": "COUNTER",
}
FLOAT_CENTS: Final = 20_000
_REMEMBERED_SALES: Final = 4
_VOID_REASONS: Final = ("WRONG_ITEM", "GUEST_LEFT", "PRICE_DISPUTE", "DOUBLE_ENTRY")
_NO_SALE_REASONS: Final = ("MAKE_CHANGE", "COUNT_DRAWER", "OPENED_BY_KEY")


class Span(NamedTuple):
    """When something happened: number of the business day, begin and end in unix milliseconds."""

    day: int
    began_ms: int
    ended_ms: int


class BooksState(Struct, frozen=True, array_like=True):
    """What :meth:`Books.save` keeps."""

    sequence: int
    drawer_cents: int
    recent: tuple[int, ...]
    components: tuple[int, ...]


class Books:
    """The till's memory; ``enter`` writes one event into it and gives its body."""

    __slots__ = ("_components", "_drawer_cents", "_plan", "_recent", "sequence")

    def __init__(self, plan: TerminalPlan) -> None:
        self.sequence = 0
        self._plan = plan
        self._drawer_cents = 0
        self._recent: tuple[int, ...] = ()
        self._components = (0,) * len(COMPONENTS)

    @classmethod
    def restore(cls, plan: TerminalPlan, state: BooksState) -> Books:
        """The books as they were at :meth:`save`."""
        books = cls(plan)
        books.sequence, books._drawer_cents = state.sequence, state.drawer_cents
        books._recent, books._components = state.recent, state.components
        return books

    def save(self) -> BooksState:
        """All that there is to remember."""
        return BooksState(self.sequence, self._drawer_cents, self._recent, self._components)

    def open_day(self) -> None:
        """Yesterday's sales are not taken back any more; yesterday's cash is in the bank."""
        self._recent = ()
        self._drawer_cents = 0

    def possible(self, trade: str) -> str:
        """What was drawn, or the drawer opened for nothing when there is nothing to take back or to pick up."""
        if trade in ("returned", "void") and not self._recent:
            return "NO_SALE"
        if trade == "pickup" and self._drawer_cents <= FLOAT_CENTS:
            return "NO_SALE"
        return trade

    def enter(self, action: str, span: Span, draws: Draws) -> tuple[str, Struct]:
        """Do it: (event type, body). Raises KeyError for an action that :data:`ACTIONS` does not name."""
        event_type, make = ACTIONS[action]
        return event_type, make(self, action, span, draws)

    def _sale(self, _action: str, span: Span, _draws: Draws) -> RetailTransaction:
        basket = basket_of(self._plan, self.sequence)
        tenders = tenders_of(self._plan, self.sequence, basket.grand_cents)
        self._recent = (*self._recent, self.sequence)[-_REMEMBERED_SALES:]
        return self._receipt("SALE", basket, tenders, span, "")

    def _returned(self, _action: str, span: Span, draws: Draws) -> RetailTransaction:
        sale = self._forget_one(draws)
        sold = basket_of(self._plan, sale)
        back = returned_part(sold, draws)
        refund = refund_of(tenders_of(self._plan, sale, sold.grand_cents), back.grand_cents)
        return self._receipt("RETURN", back, [refund], span, str(Key(self._plan.id, sale)))

    def _receipt(
        self,
        kind: Literal["SALE", "RETURN"],
        basket: Basket,
        tenders: list[Tender],
        span: Span,
        original_key: str,
    ) -> RetailTransaction:
        self._drawer_cents += cash_cents(tenders)
        return RetailTransaction(
            transaction_type=kind,
            receipt_number=f"{self._plan.terminal.terminal}-{self.sequence:08d}",
            operator_id=self._operator_id(span),
            till_id=self._till_id,
            service_mode=SERVICE_MODES[self._plan.kind],
            begin_time=utc_text(span.began_ms / 1000),
            end_time=utc_text(span.ended_ms / 1000),
            training_mode=False,
            line_items=basket.lines,
            tenders=tenders,
            net_cents=basket.net_cents,
            tax_cents=basket.tax_cents,
            grand_cents=basket.grand_cents,
            original_key=original_key,
        )

    def _void(self, _action: str, span: Span, draws: Draws) -> VoidTransaction:
        sale = self._forget_one(draws)
        grand_cents = basket_of(self._plan, sale).grand_cents
        self._drawer_cents -= cash_cents(tenders_of(self._plan, sale, grand_cents))
        return VoidTransaction(
            voided_key=str(Key(self._plan.id, sale)),
            operator_id=self._operator_id(span),
            manager_id=f"mgr-{draws.digits(3)}",
            reason_code=draws.pick(_VOID_REASONS),
            grand_cents=-grand_cents,
        )

    def _control(self, action: str, span: Span, draws: Draws) -> ControlTransaction:
        reason = draws.pick(_NO_SALE_REASONS) if action == "NO_SALE" else ""
        return ControlTransaction(action, self._operator_id(span), self._till_id, reason)  # type: ignore[arg-type]

    def _loan(self, _action: str, span: Span, _draws: Draws) -> TenderControlTransaction:
        self._drawer_cents += FLOAT_CENTS
        return self._money("LOAN", span, FLOAT_CENTS, self._drawer_cents)

    def _pickup(self, _action: str, span: Span, _draws: Draws) -> TenderControlTransaction:
        amount_cents = self._drawer_cents - FLOAT_CENTS
        self._drawer_cents = FLOAT_CENTS
        return self._money("PICKUP", span, amount_cents, FLOAT_CENTS)

    def _paid_in(self, _action: str, span: Span, draws: Draws) -> TenderControlTransaction:
        amount_cents = draws.between(5, 80) * 100
        self._drawer_cents += amount_cents
        return self._money("PAID_IN", span, amount_cents, self._drawer_cents)

    def _paid_out(self, _action: str, span: Span, draws: Draws) -> TenderControlTransaction:
        amount_cents = draws.between(5, 60) * 100
        self._drawer_cents -= amount_cents
        return self._money("PAID_OUT", span, amount_cents, self._drawer_cents)

    def _settle(self, _action: str, span: Span, draws: Draws) -> TenderControlTransaction:
        expected_cents = self._drawer_cents
        counted_cents = expected_cents + (draws.between(-500, 500) if draws.happens(200) else 0)
        self._drawer_cents = 0
        return self._money("TILL_SETTLE", span, counted_cents, expected_cents, counted_cents)

    def _money(
        self,
        kind: Literal["LOAN", "PICKUP", "PAID_IN", "PAID_OUT", "TILL_SETTLE"],
        span: Span,
        amount_cents: int,
        expected_cents: int,
        counted_cents: int | None = None,
    ) -> TenderControlTransaction:
        """``expected`` is what should be in the drawer afterwards (before, for a settlement); ``counted`` what is."""
        return TenderControlTransaction(
            control_type=kind,
            operator_id=self._operator_id(span),
            till_id=self._till_id,
            tender_type="CASH",
            amount_cents=amount_cents,
            expected_cents=expected_cents,
            counted_cents=expected_cents if counted_cents is None else counted_cents,
        )

    def _alert(self, _action: str, _span: Span, draws: Draws) -> TerminalAlert:
        place = draws.below(len(COMPONENTS))
        component, states = COMPONENTS[place]
        before = self._components[place]
        after = (before + 1) % len(states)
        self._components = (*self._components[:place], after, *self._components[place + 1 :])
        return TerminalAlert(component, states[before][0], states[after][0], states[after][1])

    def _forget_one(self, draws: Draws) -> int:
        sale = draws.pick(self._recent)
        self._recent = tuple(number for number in self._recent if number != sale)
        return sale

    def _operator_id(self, span: Span) -> str:
        return f"op-{Draws(self._plan.seed, self._plan.id, 'operator', span.day).digits(4)}"

    @property
    def _till_id(self) -> str:
        return f"till-{self._plan.terminal.terminal}"


ACTIONS: Final[dict[str, tuple[str, Callable[[Books, str, Span, Draws], Struct]]]] = {
    "START_OF_DAY": ("transaction.control", Books._control),
    "SIGN_ON": ("transaction.control", Books._control),
    "SIGN_OFF": ("transaction.control", Books._control),
    "END_OF_DAY": ("transaction.control", Books._control),
    "NO_SALE": ("transaction.control", Books._control),
    "LOAN": ("transaction.tender_control", Books._loan),
    "TILL_SETTLE": ("transaction.tender_control", Books._settle),
    "pickup": ("transaction.tender_control", Books._pickup),
    "paid_in": ("transaction.tender_control", Books._paid_in),
    "paid_out": ("transaction.tender_control", Books._paid_out),
    "sale": ("transaction.retail", Books._sale),
    "returned": ("transaction.retail", Books._returned),
    "void": ("transaction.void", Books._void),
    "alert": ("terminal.alert", Books._alert),
}
"""What can happen at a till -> (event type, the method that does it)."""
