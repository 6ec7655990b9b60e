"""The documents say what the code does."""

from pathlib import Path

from storefleet.contract_page import page

ROOT = Path(__file__).parents[2]


def test_contract_page_is_what_the_code_says() -> None:
    """docs/contract.md equals the page that the code's tables make."""
    written = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
    assert written == page(), "run: python -m storefleet.contract_page > docs/contract.md"
