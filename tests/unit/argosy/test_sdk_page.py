"""docs/sdk.md shows the examples to the letter, and they are as short as it says."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "sdk.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "lines"), [("website_operator.py", 40), ("watching.py", 15), ("test_chaos.py", 15)])
def test_an_example_is_quoted_as_it_is(name: str, lines: int) -> None:
    text = (ROOT / "deploy" / "examples" / "sdk" / name).read_text(encoding="utf-8")
    assert f"`deploy/examples/sdk/{name}`:\n\n```python\n{text}```\n" in PAGE
    assert sum(1 for line in text.splitlines() if line.strip()) <= lines
