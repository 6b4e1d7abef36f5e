"""Speed and recall of index searches, load by many clients, and the speed of adding videos.

    python benchmarks/search.py scale --rows 1000000 [--kind random]    build, size, p50, p95, recall@10, peak memory
    python benchmarks/search.py load --rows 100000 --clients 8 --seconds 60
    python benchmarks/search.py speed [--size tiny]     decoding, embedding, and both together as in `add`

Vectors are synthetic. `clustered` vectors form groups by topic and by video, one folder per topic; `random`
vectors have no close neighbors, the worst case of an index. Texts are not embedded.
"""

import argparse
import importlib
import os
import resource
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from allinone.apps.search import Filters, VideoIndex, Windows
from allinone.apps.search.embedding import map_ahead, plan_chunks
from allinone.apps.search.files import VideoFile
from allinone.apps.search.recall import measure_recall
from allinone.apps.search.table import schema
from allinone.inference import Predictor
from allinone.model.config import NANO, SIZES
from allinone.model.heads import ContrastiveHead
from allinone.model.model import AllInOne
from allinone.video.encode import write_mp4

WIDTH, PER_VIDEO, NUM_TOPICS, ROWS_A_WRITE = 512, 20, 200, 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    scale = commands.add_parser("scale")
    scale.set_defaults(run=run_scale)
    load = commands.add_parser("load")
    load.add_argument("--clients", type=int, default=8)
    load.add_argument("--seconds", type=float, default=60)
    load.set_defaults(run=run_load)
    for command, rows in ((scale, 200_000), (load, 100_000)):
        command.add_argument("--rows", type=int, default=rows)
        command.add_argument("--kind", choices=["clustered", "random"], default="clustered")
        command.add_argument("--thumbnail-bytes", type=int, default=4000)
    speed = commands.add_parser("speed")
    speed.add_argument("--size", choices=["nano", *sorted(SIZES)], default="tiny")
    speed.add_argument("--videos", type=int, default=64)
    speed.add_argument("--threads", type=int, default=1, help="that decode; the model has as many")
    speed.add_argument("--rounds", type=int, default=2)
    speed.set_defaults(run=run_speed)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        options.run(Path(folder), options)


def run_scale(folder: Path, options: argparse.Namespace) -> None:
    index, queries = built(folder, options)
    show("from words", index, queries, None)
    topic = Filters(folder="/made/7")
    show("in one folder", index, queries, topic)
    show("a tenth by name", index, queries, Filters(name="7.mp4"))
    for name, where in (("all", None), ("one folder", topic), ("a tenth by name", Filters(name="7.mp4"))):
        print(f"check_recall, {name}: {index.check_recall(where=where)}")
    print(f"queries like words: {measure_recall(index.store, queries[:100], 10, None)}")
    print(f"peak memory {peak_mb()} MB", flush=True)


def run_load(folder: Path, options: argparse.Namespace) -> None:
    index, queries = built(folder, options)
    until = time.perf_counter() + options.seconds
    times: list[float] = []
    errors: list[str] = []

    def client(number: int) -> None:
        rng = np.random.default_rng(number)
        while time.perf_counter() < until:
            started = time.perf_counter()
            try:
                hits = index.search_vector(torch.from_numpy(queries[rng.integers(len(queries))]))
                index.thumbnails([hit.segment for hit in hits])
            except Exception as error:
                errors.append(repr(error))
            times.append(time.perf_counter() - started)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(options.clients)]
    for thread in threads:
        thread.start()
    memory = []
    while time.perf_counter() < until:
        time.sleep(options.seconds / 6)
        memory.append(resident_mb())
    for thread in threads:
        thread.join()
    print(
        f"{options.clients} clients: {len(times)} searches with thumbnails, {len(errors)} errors {errors[:1]}, "
        f"p50 {1000 * np.median(times):.0f} ms, p95 {1000 * np.quantile(times, 0.95):.0f} ms; resident MB {memory}"
    )


def built(folder: Path, options: argparse.Namespace) -> tuple[VideoIndex, np.ndarray]:
    config = NANO.replace(width=32, num_heads=2, depth=1, image_size=32, patch_size=8, vocab_size=120, shared_dim=WIDTH)
    model = AllInOne.build(config, {"contrastive": ContrastiveHead.Config()})
    index = VideoIndex.open(folder / "my.index", Predictor(model))
    world = World(options.rows, options.kind)
    started = time.perf_counter()
    for begin in range(0, options.rows, ROWS_A_WRITE):
        index.store.write(
            world.rows(index, begin, min(options.rows, begin + ROWS_A_WRITE), options.thumbnail_bytes), []
        )
    written = time.perf_counter()
    index.store.tidy()
    print(
        f"{options.rows} {options.kind} segments of {WIDTH}: written in {written - started:.0f} s, vector index built "
        f"in {time.perf_counter() - written:.0f} s, {index.store.num_bytes() / 1e6:.0f} MB on disk, "
        f"{index.store.search_method()}, peak memory {peak_mb()} MB",
        flush=True,
    )
    return index, world.queries(200)


def show(name: str, index: VideoIndex, queries: np.ndarray, where: Filters | None) -> None:
    times = []
    for query in torch.from_numpy(queries):
        started = time.perf_counter()
        index.search_vector(query, where=where)
        times.append(1000 * (time.perf_counter() - started))
    print(f"{name}: p50 {np.median(times[5:]):.1f} ms, p95 {np.quantile(times[5:], 0.95):.1f} ms", flush=True)


class World:
    """Topics, videos of a topic, segments of a video: each a step away from the one before, in fewer directions."""

    def __init__(self, num_rows: int, kind: str):
        rng = np.random.default_rng(0)
        self.kind = kind
        self.spread = rng.normal(size=(WIDTH, WIDTH)) * np.arange(1, WIDTH + 1) ** -0.5
        self.mean = rng.normal(size=WIDTH)
        self.topics = self.steps(rng, NUM_TOPICS)
        self.topic_of = rng.integers(0, NUM_TOPICS, -(-num_rows // PER_VIDEO))

    def steps(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return rng.normal(size=(count, WIDTH)) @ self.spread.T

    def vectors(self, begin: int, end: int) -> np.ndarray:
        rng = np.random.default_rng([1, begin])
        if self.kind == "random":
            return unit(rng.normal(size=(end - begin, WIDTH)))
        videos = np.arange(begin, end) // PER_VIDEO
        own = self.steps(rng, videos[-1] - videos[0] + 1)[videos - videos[0]]
        return unit(self.mean + 0.7 * (self.topics[self.topic_of[videos]] + own) + 0.5 * self.steps(rng, end - begin))

    def queries(self, count: int) -> np.ndarray:
        """As words are: of a topic, but not among the segments."""
        rng = np.random.default_rng(2)
        if self.kind == "random":
            return unit(rng.normal(size=(count, WIDTH)))
        return unit(0.6 * self.mean + 0.8 * (self.topics[rng.integers(0, NUM_TOPICS, count)] + self.steps(rng, count)))

    def rows(self, index: VideoIndex, begin: int, end: int, thumbnail_bytes: int) -> Any:
        numbers = range(begin, end)
        videos = [n // PER_VIDEO for n in numbers]
        starts = [10.0 * (n % PER_VIDEO) for n in numbers]
        noise = np.random.default_rng(begin).bytes(thumbnail_bytes + end - begin)  # JPEGs do not compress either
        columns = {
            "id": [f"{n:024x}" for n in numbers],
            "video": [f"/made/{self.topic_of[v]}/{v}.mp4" for v in videos],
            "name": [f"{v}.mp4" for v in videos],
            "size": [1] * len(videos),
            "mtime_ns": [1] * len(videos),
            "content": [f"{v:032x}" for v in videos],
            "duration_sec": [10.0 * PER_VIDEO] * len(videos),
            "start_sec": starts,
            "end_sec": [start + 10 for start in starts],
            "added": [datetime.now(UTC)] * len(videos),
            "thumbnail": [noise[i : i + thumbnail_bytes] for i in range(len(videos))],
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(self.vectors(begin, end).ravel()), WIDTH),
        }
        return pa.table(columns, schema=schema(index.info, WIDTH))


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def run_speed(folder: Path, options: argparse.Namespace) -> None:
    importlib.import_module("lancedb")  # slow, and not to be measured
    torch.set_num_threads(options.threads)
    config = NANO if options.size == "nano" else SIZES[options.size]
    predictor = Predictor(AllInOne.build(config, {"contrastive": ContrastiveHead.Config()}))
    videos = made_videos(folder / "videos", options.videos)
    rates: dict[str, list[float]] = {"decoding": [], "embedding": [], "both": []}
    for number in range(options.rounds):  # in turns, so that a busy moment of the machine hits all
        started = time.perf_counter()
        frames = torch.cat(list(read(videos, predictor, options.threads)))
        decoded = time.perf_counter()
        predictor.embed_clips(frames[:, None])
        embedded = time.perf_counter()
        VideoIndex.open(folder / f"{number}.index", predictor).add(videos, num_threads=options.threads)
        added = time.perf_counter()
        for name, seconds in zip(rates, (decoded - started, embedded - decoded, added - embedded), strict=True):
            rates[name].append(len(frames) / seconds)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    part = medians["both"] / min(medians["decoding"], medians["embedding"])
    print(
        f"{options.size}, {config.num_frames} frames of 720p H.264, {options.threads} decoding and as many embedding "
        f"threads: " + ", ".join(f"{name} {rate:.2f} clips/s" for name, rate in medians.items())
        + f"; both is {part:.0%} of the slower"
    )  # fmt: skip


def read(videos: list[Path], predictor: Predictor, num_threads: int) -> Iterator[torch.Tensor]:
    """The frames of every segment, as `add` reads them."""
    reader, cut = predictor.reader(), Windows()
    with ThreadPoolExecutor(num_threads) as pool:
        files = (VideoFile.of(path) for path in videos)
        plans = map_ahead(pool, lambda file: plan_chunks(file, reader, cut, ()), files, 2 * num_threads)
        chunks = (chunk for plan in plans for chunk in plan)
        for chunk in map_ahead(pool, lambda chunk: chunk.read(reader), chunks, 2 * num_threads):
            yield chunk.frames


def made_videos(folder: Path, count: int) -> list[Path]:
    """Twenty seconds of drifting blocks with some noise, 1280 x 720, a keyframe every two seconds."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 256, (45, 80, 3), dtype=np.uint8).repeat(16, axis=0).repeat(16, axis=1)
    noise = rng.integers(0, 12, scene.shape, dtype=np.uint8)
    moves = ((t, 3 * t, 7 * t) for t in range(500))
    frames = np.stack([np.roll(scene, (a, b), axis=(0, 1)) // 2 + np.roll(noise, c, axis=1) for a, b, c in moves])
    paths = [folder / f"{number}.mp4" for number in range(count)]
    write_mp4(paths[0], frames, fps=25, gop=50)
    for path in paths[1:]:
        shutil.copy(paths[0], path)
    return paths


def peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def resident_mb() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20


if __name__ == "__main__":
    main()
