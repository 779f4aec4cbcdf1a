"""Clock and disk of a process that faults act on: switched from outside, seen by what has them."""

from __future__ import annotations

import errno
import subprocess
import sys
import time
from pathlib import Path

import pytest

from argosy import fault_controls
from argosy.fault_controls import Controls
from argosy.host import real_host

PROGRAM = """
import sys
from dataclasses import dataclass
from argosy.config import option, parse
from argosy.host import real_host
@dataclass(frozen=True)
class Config:
    name: str = option("x")
parse(Config, "p", "")
real = __import__("time").time()
print(round(real_host().clock.now() - real))
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    result = str(tmp_path / "controls" / "etcd-1.ctl")
    fault_controls.ensure(result)
    return result


def test_a_clock_is_set_off_and_right_again(path: str) -> None:
    clock = fault_controls.faulty(real_host(), path).clock
    for skew_s in (3600.0, -86400.0, 0.0):
        fault_controls.write(path, Controls(skew_s=skew_s))
        assert abs(clock.now() - time.time() - skew_s) < 5
        assert abs(clock.monotonic() - time.monotonic()) < 5


def test_a_full_disk_lets_nothing_grow_and_everything_shrink(path: str, tmp_path: Path) -> None:
    disk = fault_controls.faulty(real_host(), path).disk
    there = str(tmp_path / "there")
    file = disk.open(there, create=True)
    file.pwrite(b"12345678", 0)
    fault_controls.write(path, Controls(disk_full=True))
    for attempt in (
        lambda: file.pwrite(b"x", 8),
        lambda: file.truncate(9),
        lambda: disk.open(str(tmp_path / "new"), create=True),
        lambda: disk.makedirs(str(tmp_path / "folder")),
    ):
        with pytest.raises(OSError) as raised:
            attempt()
        assert raised.value.errno == errno.ENOSPC
    assert disk.free_bytes(there) == 0
    file.pwrite(b"87654321", 0)
    file.truncate(4)
    assert (file.size(), file.pread(8, 0), disk.listdir(str(tmp_path))) == (4, b"8765", ["controls", "there"])
    fault_controls.write(path, Controls())
    file.pwrite(b"x", 4)
    assert file.size() == 5 and disk.free_bytes(there) > 0


def test_a_slow_disk_takes_its_time_to_sync(path: str, tmp_path: Path) -> None:
    disk = fault_controls.faulty(real_host(), path).disk
    file = disk.open(str(tmp_path / "there"), create=True)
    fault_controls.write(path, Controls(sync_s=0.2))
    for sync in (file.datasync, lambda: disk.sync_dir(str(tmp_path))):
        begun_s = time.monotonic()
        sync()
        assert time.monotonic() - begun_s >= 0.2


def test_every_process_takes_the_flag(path: str, tmp_path: Path) -> None:
    fault_controls.write(path, Controls(skew_s=1000))
    line = [sys.executable, "-c", PROGRAM]
    skewed = subprocess.run([*line, "--fault-controls", path], capture_output=True, text=True, check=True)
    right = subprocess.run(line, capture_output=True, text=True, check=True)
    assert (skewed.stdout, right.stdout) == ("1000\n", "0\n")
    missing = [*line, "--fault-controls", str(tmp_path / "none")]
    refused = subprocess.run(missing, capture_output=True, text=True, check=False)
    assert refused.returncode == 2 and "--fault-controls" in refused.stderr
