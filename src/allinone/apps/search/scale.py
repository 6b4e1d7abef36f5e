"""Embed a large collection on many machines: Ray distributes videos, and each worker embeds as one machine does."""

import copy
import logging
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from allinone.apps.search.files import VideoFile
from allinone.apps.search.segments import Cut
from allinone.inference import Predictor

if TYPE_CHECKING:
    from allinone.apps.search.embedding import Embedded

log = logging.getLogger(__name__)

NUM_RETRIES = 2
"""How often a task is repeated after its worker died."""


@dataclass(frozen=True, kw_only=True)
class Ray:
    """A Ray cluster. Videos must have the same paths on every machine; only the caller writes to the index.

    `address` is that of the cluster ("auto", "ray://host:10001"); with None, an existing connection is used, or a
    cluster is started on this machine. By default there is one worker per GPU, or, without GPUs, per two CPUs. With
    `log`, the log of Ray and its workers is printed.
    """

    address: str | None = None
    num_workers: int | None = None
    cpus_per_worker: int = 2
    gpus_per_worker: float | None = None
    videos_per_task: int = 8
    log: bool = False

    def embed_videos(
        self,
        videos: Sequence[VideoFile],
        predictor: Predictor,
        cut: Cut,
        contents: frozenset[str],
        on_segments: Callable[[int, int], None],
    ) -> Iterator["Embedded"]:
        """Yield a result for every video, in the order in which they are finished.

        A worker that dies is started again and repeats its task. After `NUM_RETRIES` times, the videos of the task are
        tried one by one, and a video with which workers still die is a failure.
        """
        if not self.log:  # before Ray is imported: its messages about workers that die bypass its logger
            os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
        ray = ray_module()
        is_ours = not ray.is_initialized()
        if is_ours:
            self.start(ray)
        try:
            # Once: workers fetch it from Ray's object store.
            setup = ray.put((on_device(predictor, "cpu"), cut, contents, self.cpus_per_worker))
            tasks = [videos[i : i + self.videos_per_task] for i in range(0, len(videos), self.videos_per_task)]
            done = 0
            for results in run_tasks(ray, self.workers(ray), setup, tasks):
                done += sum(len(result.rows) for result in results)
                on_segments(done, done)
                yield from results
        finally:
            if is_ours:
                ray.shutdown()

    def workers(self, ray: Any) -> list[Any]:
        """Start as many workers as the cluster has room for, or `num_workers`."""
        total = ray.cluster_resources()
        # One each, if the cluster has any.
        gpus = float("GPU" in total) if self.gpus_per_worker is None else self.gpus_per_worker
        room = total.get("GPU", 0.0) / gpus if gpus else total.get("CPU", 1.0) / self.cpus_per_worker
        needs = {"num_cpus": self.cpus_per_worker, "num_gpus": gpus}
        # -1: restarted however often it dies; a task is not repeated as often.
        worker = ray.remote(**needs, max_restarts=-1, max_task_retries=NUM_RETRIES)(Worker)
        return [worker.remote() for _ in range(self.num_workers or max(1, int(room)))]

    def start(self, ray: Any) -> None:
        """Connect to the cluster, or start one here."""
        level = logging.INFO if self.log else logging.ERROR
        logging.getLogger("ray").setLevel(level)
        # Ray adds the current folder, which may contain any module, to the import path of its workers.
        with chdir(os.sep), warnings.catch_warnings():
            # Ray forks, but its processes start another program at once, so LanceDB's threads don't matter.
            warnings.filterwarnings("ignore", "lancedb fork support")
            ray.init(self.address, log_to_driver=self.log, logging_level=level)


def run_tasks(
    ray: Any, idle: list[Any], setup: Any, tasks: Sequence[Sequence[VideoFile]]
) -> Iterator[list["Embedded"]]:
    """Give each idle worker a task until all are done, and yield their results as they come."""
    from allinone.apps.search.embedding import Embedded

    todo = deque(tasks)
    running: dict[Any, tuple[Any, Sequence[VideoFile]]] = {}
    while todo or running:
        while todo and idle:
            worker, task = idle.pop(), todo.popleft()
            running[worker.embed.remote([setup], task)] = worker, task
        [ready], _ = ray.wait(list(running), num_returns=1)
        worker, task = running.pop(ready)
        idle.append(worker)  # also after an error: Ray has started it again
        try:
            yield ray.get(ready)
        except ray.exceptions.RayActorError as error:  # though the task was repeated `NUM_RETRIES` times
            if len(task) > 1:  # one of them kills workers: find out which
                todo.extend([video] for video in task)
                continue
            log.debug("%s: %s", task[0].path, error)
            yield [Embedded(task[0], failure=f"{NUM_RETRIES + 1} workers died while they read it")]


class Worker:
    """Embeds videos on a machine of the cluster.

    A reference to the model comes with every task, and the first task fetches it. As an argument of the constructor it
    could be lost when Ray restarts a worker that died.
    """

    def __init__(self) -> None:
        self.setup: tuple[Predictor, Cut, frozenset[str], int] | None = None

    def embed(self, setup: list[Any], videos: Sequence[VideoFile]) -> list["Embedded"]:
        """Embed the videos of one task. `setup` is a list, so that Ray does not fetch the reference in it by itself."""
        from allinone.apps.search.embedding import embed_videos

        if self.setup is None:
            predictor, cut, contents, num_threads = ray_module().get(setup[0])
            predictor = on_device(predictor, "cuda" if torch.cuda.is_available() else "cpu")
            self.setup = predictor, cut, contents, num_threads
        predictor, cut, contents, num_threads = self.setup
        return list(embed_videos(videos, predictor, cut, contents, num_threads=num_threads))


def on_device(predictor: Predictor, device: str) -> Predictor:
    """Return the predictor, or a copy of it on another device."""
    if predictor.device.type == device:
        return predictor
    model = copy.deepcopy(predictor.model)
    return Predictor(
        model,
        predictor.tokenizer,
        data=predictor.data,
        device=device,
        precision=predictor.precision,
        name=predictor.name,
    )


def ray_module() -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"many machines need {error.name}: pip install 'allinone[scale]'") from error
    return ray
