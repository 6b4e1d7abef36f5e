"""Run tasks in worker processes. A decoder that hangs or crashes costs its own task and no other."""

import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from allinone.files.faults import FULL
from allinone.processes import forkserver, without_current_folder

Task = TypeVar("Task")
Result = TypeVar("Result")

Heartbeat = Callable[[], None]
"""Called by long work, as often as it likes, to show that it does not hang."""

BEAT_SEC = 1.0
"""Shortest time between two heartbeats that are sent, because work may call it for every frame."""


@dataclass(frozen=True)
class Failure:
    """Why a task has no result."""

    cause: str


def run_tasks(
    tasks: Iterable[Task], work: Callable[[Task, Heartbeat], Result], num_workers: int, patience_sec: float
) -> Generator[tuple[Task, Result | Failure], None, None]:
    """Yield each task with its result, in the order in which they finish.

    A task fails if `work` raises, if its process dies, or if it sends no heartbeat for `patience_sec`.

    Args:
        work: a function of a module, or a `partial` of one, so that other processes can import it

    Raises:
        OSError: the disk is full; all work stops.
    """
    if num_workers < 1:
        raise ValueError(f"the number of workers must be 1 or more, got {num_workers}")
    # Workers are forked from a server that has imported the module, because importing torch takes seconds.
    function = work.func if isinstance(work, partial) else work
    context, todo = forkserver([function.__module__]), deque(tasks)
    workers = [_Worker(context, work) for _ in range(min(num_workers, len(todo)))]
    try:
        for worker in workers:
            worker.start(todo.popleft())
        while busy := [worker for worker in workers if worker.is_busy]:
            # Of the one that has been silent for longest.
            deadline = min(worker.last_heard for worker in busy) + patience_sec
            wait([worker.pipe for worker in busy], timeout=max(0.0, deadline - time.monotonic()))
            for worker in busy:
                worker.receive(patience_sec)  # also of silent ones, which may have to be given up
                if worker.is_busy:
                    continue
                task, result = worker.task, worker.result
                if isinstance(result, OSError):  # a full disk would fail all others, too
                    raise result
                if todo:  # before the result is used, which may take time
                    worker.start(todo.popleft())
                yield task, result
    finally:
        for worker in workers:
            worker.kill()


class _Worker:
    """One process, which does one task at a time. It is replaced when it has died."""

    pipe: Connection
    task: Any
    result: Any

    def __init__(self, context: Any, work: Callable[..., object]):
        self.context, self.work = context, work
        self.process: Any = None
        self.is_busy = False
        self.last_heard = 0.0

    def start(self, task: object) -> None:
        """Give the process a task, and start it first if it is not running."""
        if self.process is None or not self.process.is_alive():
            self.kill()  # closes the pipe of the dead one
            self.pipe, theirs = self.context.Pipe()
            self.process = self.context.Process(target=_serve, args=(theirs, self.work), daemon=True)
            with without_current_folder():
                self.process.start()
            theirs.close()  # the worker has the only other end now, so its death ends the pipe
        self.task, self.is_busy, self.last_heard = task, True, time.monotonic()
        with suppress(BrokenPipeError):  # it died just now, which `receive` will notice
            self.pipe.send(task)

    def receive(self, patience_sec: float) -> None:
        """Set `result` if the task is finished: what the work returned, a `Failure`, or the OSError of a full disk."""
        try:
            # All that has arrived: heartbeats, then maybe the result.
            while self.is_busy and self.pipe.poll():
                self.last_heard = time.monotonic()
                is_finished, self.result = self.pipe.recv()
                self.is_busy = not is_finished
        except (EOFError, ConnectionResetError):
            self.process.join(timeout=10)
            # FFmpeg crashed, or the kernel killed it for its memory.
            self._fail(f"the process that read it died ({_describe_exit(self.process.exitcode)})")
        if self.is_busy and time.monotonic() - self.last_heard >= patience_sec:
            self._fail(f"no sign of life for {patience_sec:g} s; given up")

    def _fail(self, cause: str) -> None:
        self.kill()
        self.is_busy, self.result = False, Failure(cause)

    def kill(self) -> None:
        """End the process, if there is one."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.pipe.close()
            self.process = None


def _describe_exit(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        with suppress(ValueError):
            return signal.Signals(-exit_code).name
    return f"exit code {exit_code}"


def _serve(pipe: Connection, work: Callable[[Any, Heartbeat], object]) -> None:
    """The life of a worker process: receive tasks, and send heartbeats (False, None) and results (True, result)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    last_sent = 0.0

    def heartbeat() -> None:
        nonlocal last_sent
        if time.monotonic() - last_sent > BEAT_SEC:
            last_sent = time.monotonic()
            pipe.send((False, None))

    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent is gone
        while True:
            task = pipe.recv()
            try:
                result = work(task, heartbeat)
            except (BrokenPipeError, ConnectionResetError):  # from `heartbeat`: the parent is gone
                raise
            except OSError as error:
                result = error if error.errno in FULL else Failure(str(error))
            except Exception as error:  # a decoder may raise anything for a broken file
                result = Failure(str(error) if isinstance(error, ValueError) else repr(error))
            pipe.send((True, result))
