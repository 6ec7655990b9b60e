"""docs/guarantees.md names only tests that exist, and leaves out none of those that prove resilience."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def defined_in(file: Path) -> set[str]:
    """The names of the tests that a file defines."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {function.name for function in functions if function.name.startswith("test_")}


def named() -> set[tuple[str, str]]:
    """File and test of everything that the page names."""
    found = set(NAMED.findall((ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")))
    assert len(found) > 20
    return found


def test_every_named_test_exists() -> None:
    """Whoever looks for the proof of a promise finds it."""
    missing = [f"{file}::{name}" for file, name in named() if name not in defined_in(ROOT / file)]
    assert missing == []


def test_every_resilience_test_is_named() -> None:
    """What is proven is also promised."""
    files = (ROOT / "tests" / "resilience").glob("test_*.py")
    there = {(str(file.relative_to(ROOT)), name) for file in files for name in defined_in(file)}
    assert there - named() == set()
