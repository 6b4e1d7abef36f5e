"""A very large collection on many machines: Ray hands out videos, and every worker embeds as one machine does."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from allinone.inference import Predictor
from allinone.search.embedding import Embedded, embed_videos
from allinone.search.files import VideoFile
from allinone.search.segments import Cut


@dataclass(frozen=True, kw_only=True)
class Ray:
    """A Ray cluster. Videos must lie under the same paths on every machine; the index is written by the caller alone.

    `address` is that of the cluster ("auto", "ray://host:10001"); None uses the one that is connected already, or
    starts one on this machine. By default there is a worker for each GPU, or, where there are none, for each two CPUs.
    """

    address: str | None = None
    num_workers: int | None = None
    cpus_per_worker: int = 2
    gpus_per_worker: float | None = None
    videos_per_task: int = 8

    def embed_videos(
        self,
        videos: Sequence[VideoFile],
        predictor: Predictor,
        cut: Cut,
        contents: frozenset[str],
        on_segments: Callable[[int, int], None],
    ) -> Iterator[Embedded]:
        """Every video, in the order in which they get done. A worker that dies is started again, and its task too."""
        ray = ray_module()
        is_ours = not ray.is_initialized()
        if is_ours:
            ray.init(self.address, log_to_driver=False)
        try:
            total = ray.cluster_resources()
            gpus = float("GPU" in total) if self.gpus_per_worker is None else self.gpus_per_worker
            room = total.get("GPU", 0.0) / gpus if gpus else total.get("CPU", 1.0) / self.cpus_per_worker
            worker = ray.remote(num_cpus=self.cpus_per_worker, num_gpus=gpus, max_restarts=-1, max_task_retries=-1)(
                Worker
            )
            what = ray.put(on_device(predictor, "cpu")), cut, ray.put(contents), self.cpus_per_worker
            pool = ray.util.ActorPool([worker.remote(*what) for _ in range(self.num_workers or max(1, int(room)))])
            tasks = [videos[i : i + self.videos_per_task] for i in range(0, len(videos), self.videos_per_task)]
            done = 0
            for results in pool.map_unordered(lambda worker, task: worker.embed.remote(task), tasks):
                done += sum(len(result.rows) for result in results)
                on_segments(done, done)
                yield from results
        finally:
            if is_ours:
                ray.shutdown()


class Worker:
    """What runs on the machines of a cluster."""

    def __init__(self, predictor: Predictor, cut: Cut, contents: frozenset[str], num_threads: int):
        self.predictor = on_device(predictor, "cuda" if torch.cuda.is_available() else "cpu")
        self.cut = cut
        self.contents = contents
        self.num_threads = num_threads

    def embed(self, videos: Sequence[VideoFile]) -> list[Embedded]:
        return list(embed_videos(videos, self.predictor, self.cut, self.contents, num_threads=self.num_threads))


def on_device(predictor: Predictor, device: str) -> Predictor:
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
        import ray.util
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"many machines need {error.name}: pip install 'allinone[scale]'") from error
    return ray
