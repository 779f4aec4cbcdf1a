"""Seeds on all cores: worker processes that take one seed at a time and answer with its outcome.

    with Pool(workers=2) as pool:
        for job in jobs: pool.submit(Job(seed))
        outcome = pool.result(Job(17))

A worker is `python -m tests.sim --worker` with a fixed PYTHONHASHSEED and the lowest priority: a job a line on stdin,
an outcome a line on stdout. One that plants a bug is never used again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from tests.sim.scenario import Outcome

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Job:
    seed: int
    plant: str = ""
    """A bug of tests.sim.planted."""
    hash_seed: int = 0


class WorkerDied(Exception):
    """A worker ended without an answer; the message is what it said."""


class Pool:
    def __init__(self, workers: int = 0) -> None:
        """0: one worker per core."""
        self._jobs: deque[Job] = deque()
        self._submitted: dict[Job, None] = {}
        self._outcomes: dict[Job, Outcome | WorkerDied] = {}
        self._changed = threading.Condition()
        self._closed = False
        count = workers or os.cpu_count() or 1
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]

    def __enter__(self) -> Pool:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def submit(self, *jobs: Job) -> None:
        """Jobs that were not submitted before join the queue."""
        with self._changed:
            self._jobs.extend(job for job in jobs if job not in self._submitted)
            self._submitted.update(dict.fromkeys(jobs))
            self._changed.notify_all()

    def result(self, job: Job) -> Outcome:
        """Wait for a submitted job. Raises WorkerDied."""
        with self._changed:
            self._changed.wait_for(lambda: job in self._outcomes)
            outcome = self._outcomes[job]
        if isinstance(outcome, WorkerDied):
            raise outcome
        return outcome

    def _work(self) -> None:
        worker: Worker | None = None
        while (job := self._next()) is not None:
            if worker is None or not worker.fits(job):
                if worker is not None:
                    worker.close()
                worker = Worker(job.hash_seed, job.plant)
            outcome: Outcome | WorkerDied
            try:
                outcome = worker.run(job.seed)
            except WorkerDied as error:
                outcome, worker = error, None
            with self._changed:
                self._outcomes[job] = outcome
                self._changed.notify_all()
        if worker is not None:
            worker.close()

    def _next(self) -> Job | None:
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            return None if self._closed else self._jobs.popleft()


class Worker:
    """One process."""

    def __init__(self, hash_seed: int, plant: str) -> None:
        self._kind = (hash_seed, plant)
        command = [
            "nice",
            "-n",
            "19",
            sys.executable,
            "-m",
            "tests.sim",
            "--worker",
            *(["--plant", plant] if plant else []),
        ]
        environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def fits(self, job: Job) -> bool:
        return self._kind == (job.hash_seed, job.plant)

    def run(self, seed: int) -> Outcome:
        """Raises WorkerDied."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(f"{seed}\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerDied(f"seed {seed}: the worker ended with status {self._process.wait()}")
        found = json.loads(line)
        return Outcome(**{**found, "violations": tuple(found["violations"])})

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def encode(outcome: Outcome) -> str:
    return json.dumps(asdict(outcome))
