"""Work on many files in processes of their own. A decoder that hangs or crashes costs its file, and nothing else."""

import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from allinone.files.faults import FULL
from allinone.processes import forkserver, without_current_folder

Task = TypeVar("Task")
Result = TypeVar("Result")

Alive = Callable[[], None]
"""To be called now and then by work that takes long."""

BEAT_SEC = 1.0
"""A sign of life is sent so often at the most."""


@dataclass(frozen=True)
class Failure:
    """Why there is no result."""

    cause: str


def work_on(
    tasks: Iterable[Task], work: Callable[[Task, Alive], Result], num_workers: int, patience_sec: float
) -> Generator[tuple[Task, Result | Failure], None, None]:
    """Each task with its result, as they come. `work` is a function of a module, for other processes to find.

    What it raises, a process that dies, and one that gives no sign of life for `patience_sec` are failures of the task.
    A full disk ends all work: OSError.
    """
    if num_workers < 1:
        raise ValueError(f"work is done by one worker or more; got {num_workers}")
    context = forkserver([work.__module__])
    todo = deque(tasks)
    workers: list[_Worker] = []
    try:
        workers += [_Worker(context, work) for _ in range(min(num_workers, len(todo)))]
        while todo or any(worker.busy for worker in workers):
            for place, worker in enumerate(workers):
                if not worker.busy and todo:
                    if not worker.process.is_alive():
                        worker.kill()
                        workers[place] = worker = _Worker(context, work)
                    worker.give(todo.popleft())
            busy = [worker for worker in workers if worker.busy]
            rest = max(0.0, min(worker.heard for worker in busy) + patience_sec - time.monotonic())
            wait([worker.pipe for worker in busy], timeout=rest)
            for worker in busy:
                outcome = worker.outcome(patience_sec)
                if isinstance(outcome, OSError):
                    raise outcome
                if outcome is not None:
                    yield worker.task, outcome
    finally:
        for worker in workers:
            worker.kill()


class _Worker:
    """A process that does one task at a time."""

    def __init__(self, context: Any, work: Callable[..., object]):
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, work), daemon=True)
        with without_current_folder():
            self.process.start()
        theirs.close()
        self.busy = False
        self.heard = 0.0
        self.task: Any = None

    def give(self, task: object) -> None:
        self.task, self.busy, self.heard = task, True, time.monotonic()
        with suppress(BrokenPipeError):  # it died meanwhile: then no answer comes
            self.pipe.send(task)

    def outcome(self, patience_sec: float) -> Any:
        """The result or failure of its task; None while it is at work."""
        try:
            while self.pipe.poll():
                self.heard = time.monotonic()
                done, result = self.pipe.recv()
                if done:
                    self.busy = False
                    return result
        except (EOFError, ConnectionResetError):
            self.process.join(timeout=10)
            return self._failed(f"the process that read it died ({_ending(self.process.exitcode)})")
        if time.monotonic() - self.heard >= patience_sec:
            return self._failed(f"no sign of life for {patience_sec:g} s; given up")
        return None

    def _failed(self, cause: str) -> Failure:
        self.kill()
        self.busy = False
        return Failure(cause)

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _ending(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        with suppress(ValueError):
            return signal.Signals(-exit_code).name
    return f"exit code {exit_code}"


def _serve(pipe: Connection, work: Callable[[Any, Alive], object]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    last = 0.0

    def alive() -> None:
        nonlocal last
        if time.monotonic() - last > BEAT_SEC:
            last = time.monotonic()
            pipe.send((False, None))

    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent is gone
        while True:
            task = pipe.recv()
            try:
                result = work(task, alive)
            except (BrokenPipeError, ConnectionResetError):
                raise
            except OSError as error:
                result = error if error.errno in FULL else Failure(str(error))
            except Exception as error:  # whatever a decoder makes of a broken file
                result = Failure(str(error) if isinstance(error, ValueError) else repr(error))
            pipe.send((True, result))
