"""The worker pool (FreeBSD's KTLS threads): what encrypts and decrypts beside the one who writes.

Work is a `Job` of two steps, `run` and then `finish`. It is put in the queue of a worker; work of
one session always in the same one (`wq_index`), as FreeBSD's per-CPU queues have it, so that it
finishes in order. Or any worker takes it (`spread`): then several encrypt records of one
connection at once, and they finish in any order.

`ThreadPool` has threads. `ScheduledPool` has none: it runs a step when it is told to, of a worker
that its seed chooses. Both are a `WorkerPool`.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from threading import Condition, Lock, Thread, current_thread
from time import monotonic
from typing import Protocol


class Job(Protocol):
    """Work for a worker. What a step raises ends the job, and is kept in `WorkerPool.failures`."""

    def run(self) -> None:
        """The part that takes long; nobody sees its effect yet."""

    def finish(self) -> None:
        """Make its effect known (sbready)."""


class WorkerPool(Protocol):
    """What the socket layer needs of a pool."""

    failures: list[Exception]
    """What jobs raised; a job that deals with its own errors leaves nothing here."""
    spread: bool
    """Whether any worker takes any job."""

    @property
    def threads(self) -> int:
        """How many workers."""

    @property
    def queued(self) -> int:
        """Jobs that are not finished."""

    def submit(self, index: int, job: Job) -> None:
        """Queue a job for worker `index` modulo their number."""

    def drain(self, timeout_s: float = 10.0) -> None:
        """Return when all jobs are finished. TimeoutError."""

    def close(self) -> None:
        """Finish what is queued, then end; what is submitted afterwards is refused
        (RuntimeError)."""


class ThreadPool:
    """Real threads, started at the first job."""

    def __init__(self, threads: int = 2, *, spread: bool = False) -> None:
        """threads: at least 1."""
        if threads < 1:
            raise ValueError(f"{threads} threads")
        self.threads = threads
        self.spread = spread
        self.failures: list[Exception] = []
        self._queues: list[deque[Job]] = [deque() for _ in range(1 if spread else threads)]
        self._lock = Lock()
        # A job wakes one worker of its queue, and nobody else.
        self._filled = [Condition(self._lock) for _ in self._queues]
        self._idle = Condition(self._lock)
        self._workers: list[Thread] = []
        self._unfinished = 0
        self._closed = False

    @property
    def queued(self) -> int:
        """As `WorkerPool.queued`."""
        return self._unfinished

    def submit(self, index: int, job: Job) -> None:
        """As `WorkerPool.submit`."""
        with self._lock:
            if self._closed:
                raise RuntimeError("the worker pool is closed")
            if not self._workers:
                self._start()
            number = index % len(self._queues)
            self._queues[number].append(job)
            self._unfinished += 1
            self._filled[number].notify()

    def _start(self) -> None:
        for number in range(self.threads):
            at = number % len(self._queues)
            worker = Thread(
                target=self._work,
                args=(self._queues[at], self._filled[at]),
                name=f"KTLS thr_{number}",
                daemon=True,
            )
            self._workers.append(worker)
            worker.start()

    def _work(self, queue: deque[Job], filled: Condition) -> None:
        """ktls_work_thread."""
        while True:
            with self._lock:
                while not queue:
                    if self._closed:
                        return
                    filled.wait()
                job = queue.popleft()
            try:
                job.run()
                job.finish()
            except Exception as error:
                self.failures.append(error)
            del job
            with self._lock:
                self._unfinished -= 1
                if not self._unfinished:
                    self._idle.notify_all()

    def drain(self, timeout_s: float = 10.0) -> None:
        """As `WorkerPool.drain`."""
        deadline = monotonic() + timeout_s
        with self._lock:
            while self._unfinished:
                left = deadline - monotonic()
                if left <= 0:
                    raise TimeoutError(f"{self._unfinished} jobs after {timeout_s:g} s")
                self._idle.wait(left)

    def close(self) -> None:
        """As `WorkerPool.close`; waits for the threads. TimeoutError as `drain`."""
        self.drain()  # jobs may queue others until then
        with self._lock:
            self._closed = True
            for filled in self._filled:
                filled.notify_all()
        for worker in self._workers:
            if worker is not current_thread():
                worker.join()


class ScheduledPool:
    """No threads: `step` lets one worker do one step. Which one is chosen by `choose`, given the
    numbers of those that have something to do; by default seeded at random. Between the two steps
    of one worker's job others may finish theirs, as with threads."""

    def __init__(
        self,
        workers: int = 2,
        *,
        spread: bool = False,
        seed: int = 0,
        choose: Callable[[list[int]], int] | None = None,
    ) -> None:
        self.threads = workers
        self.spread = spread
        self.failures: list[Exception] = []
        self._choose = choose if choose is not None else random.Random(seed).choice
        self._queues: list[deque[Job]] = [deque() for _ in range(1 if spread else workers)]
        self._running: list[Job | None] = [None] * workers
        self._closed = False

    @property
    def queued(self) -> int:
        """As `WorkerPool.queued`."""
        running = sum(job is not None for job in self._running)
        return running + sum(map(len, self._queues))

    def submit(self, index: int, job: Job) -> None:
        """As `WorkerPool.submit`."""
        if self._closed:
            raise RuntimeError("the worker pool is closed")
        self._queues[index % len(self._queues)].append(job)

    def step(self) -> bool:
        """One step of one worker; False when there is nothing to do."""
        able = [
            number
            for number, job in enumerate(self._running)
            if job is not None or self._queues[number % len(self._queues)]
        ]
        if not able:
            return False
        number = self._choose(able)
        job = self._running[number]
        try:
            if job is None:
                job = self._queues[number % len(self._queues)].popleft()
                job.run()
                self._running[number] = job
            else:
                self._running[number] = None
                job.finish()
        except Exception as error:
            self.failures.append(error)
        return True

    def drain(self, timeout_s: float = 10.0) -> None:
        """As `WorkerPool.drain`; takes no time."""
        while self.step():
            pass

    def close(self) -> None:
        """As `WorkerPool.close`."""
        self.drain()
        self._closed = True
