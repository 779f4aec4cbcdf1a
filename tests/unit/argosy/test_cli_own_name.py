"""What the command line tells people to type works as printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from argosy.cli.options import own_name


def script(folder: Path) -> Path:
    folder.mkdir(parents=True)
    path = folder / "argosy"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_command_is_named_as_it_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, elsewhere = script(tmp_path / "clone" / "bin"), script(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path / "clone")
    monkeypatch.setattr("sys.argv", [str(inside), "up"])
    monkeypatch.setenv("PATH", "/usr/bin")
    assert own_name() == "bin/argosy"
    monkeypatch.setenv("PATH", str(elsewhere.parent))
    assert own_name() == "bin/argosy"
    monkeypatch.setenv("PATH", str(inside.parent))
    assert own_name() == "argosy"
    monkeypatch.setattr("sys.argv", [str(elsewhere), "up"])
    assert own_name() == str(elsewhere)
