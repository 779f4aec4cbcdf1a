"""`make test` runs every test there is."""

from pathlib import Path

from tests.__main__ import SESSIONS

ROOT = Path(__file__).parents[2]


def test_every_folder_with_tests_is_in_one_session() -> None:
    there = {path.relative_to(ROOT).parts[1] for path in (ROOT / "tests").rglob("test_*.py")}
    run = [folder.removeprefix("tests/") for folders in SESSIONS.values() for folder in folders]
    assert sorted(run) == sorted(there)
