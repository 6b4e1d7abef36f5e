"""Speed against a plain reference with the cost of the released code, and against the limit of this machine.

    python benchmarks/bench.py [--only joint text video onnx training data epoch] [--size tiny small base] [--rounds 7]
                               [--to FILE.json]

Random weights and pixels, captions of the length of MSR-VTT's. Ours and the reference alternate in one process; figures
are medians. The last line says how many of the project's goals are reached. Needs a quiet machine and about twelve
minutes.
"""

import argparse
import itertools
import shutil
import statistics
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from measure import (
    HEADER,
    Report,
    Row,
    Work,
    best_product,
    child,
    copied_bytes,
    in_turns,
    machine,
    median_ratio,
    needed_operations,
)  # fmt: skip
from reference import Reference, read_clip
from training import BATCH, LENGTHS, our_step, reference_step, some_tokenizer, texts
from videos import write_video

from allinone.apps.export import export
from allinone.apps.tools.shard import Limits, shard
from allinone.data.clip_reader import ClipReader, Span
from allinone.data.example import Example
from allinone.data.loader import DataConfig, example_loader
from allinone.datasets import find
from allinone.inference import Predictor
from allinone.model.config import SIZES, ModelConfig
from allinone.model.heads import ContrastiveHead, MatchingHead
from allinone.model.model import AllInOne
from allinone.video import probe
from allinone.video.sampling import segment_times
from allinone.video.transforms import Transform

CLIPS = 4
MANY_LENGTHS = (5, 7, 7, 8, 8, 9, 10, 10, 11, 11, 12, 13, 14, 16, 17, 21)
"""Tokens of sixteen captions, spread as MSR-VTT's."""

UNITS = {"joint": "clips/s", "video": "clips/s", "text": "texts/s"}

Goals = tuple[float | None, float | None]
"""What a figure is to reach, and what it aims at."""

NONE: Goals = (None, None)


class Bench:
    """What all parts of the benchmark share."""

    def __init__(self, sizes: list[str], rounds: int, folder: Path):
        self.sizes = sizes
        self.rounds = rounds
        self.folder = folder
        self.report = Report(about=machine())
        self.limit: dict[str, float] = {"float32": 0.0, "bfloat16": 0.0, "int8": 0.0}
        for name in self.limit:
            self.limit_of(name)
        self.report.about["limits"] = {"operations_per_sec": self.limit, "copied_bytes_per_sec": copied_bytes()}

    def limit_of(self, precision: str) -> float:
        """Measured again before each row, because a busy moment makes it too low; the maximum counts."""
        self.limit[precision] = max(self.limit[precision], best_product(getattr(torch, precision)))
        return self.limit[precision]

    def predictor(self, size: str, precision: str | None = None) -> Predictor:
        torch.manual_seed(0)
        config = SIZES[size]
        model = AllInOne.build(config, {"contrastive": ContrastiveHead.Config(), "matching": MatchingHead.Config()})
        return Predictor(model, some_tokenizer(config), precision=precision)  # pyright: ignore[reportArgumentType]

    def compare(
        self,
        name: str,
        size: str,
        ours: Callable[[Predictor], object],
        reference: Callable[[Reference], object],
        *,
        counts: tuple[int, int],
        operations: float,
        goals: Mapping[str, Goals],
        at_float32: float | None = None,
    ) -> None:
        """A row for float32 and one for the precision taken by default.

        `counts` is how many clips or texts a call of each does, and `operations` what one of them needs.
        """
        plain, fast = self.predictor(size, "float32"), self.predictor(size)
        released = Reference(plain.model)
        works: dict[str, Work] = {"reference": lambda: reference(released), "float32": lambda: ours(plain)}
        works[fast.precision] = lambda: ours(fast)
        with torch.inference_mode():
            seconds = in_turns(works, self.rounds)
        slow = [s / counts[1] for s in seconds.pop("reference")]
        for precision, times in seconds.items():
            each = [s / counts[0] for s in times]
            rate = 1 / statistics.median(each)
            share = operations * rate / self.limit_of(precision)
            wanted = goals.get(size, NONE) if precision == "bfloat16" else (at_float32, None)
            unit, title = UNITS[name], f"{name} {size}, {precision}"
            self.add(title, rate, unit, 1 / statistics.median(slow), median_ratio(slow, each), share, wanted)
            if (name, size, precision) == ("joint", "base", "bfloat16"):
                share_row = Row(f"{title}: share of the limit", 100 * share, "%", share=share)
                self.report.add(replace(share_row, at_least=0.65, aim=0.85, wanted_of="share"))

    def add(
        self,
        name: str,
        ours: float,
        unit: str,
        reference: float,
        ratio: float,
        share: float | None = None,
        goals: Goals = (None, None),
    ) -> None:
        self.report.add(Row(name, ours, unit, reference, ratio, share, *goals))

    def joint(self) -> None:
        """Clips with a caption each, through the matching head."""
        for size in self.sizes:
            config = SIZES[size]
            ids, mask = texts(config, LENGTHS)
            frames, normal = some_frames(config, CLIPS)
            rows, pairs = real_tokens(ids, mask), torch.arange(CLIPS)[:, None].expand(-1, 2)
            self.compare(
                "joint",
                size,
                lambda predictor, f=frames, r=rows, m=pairs: predictor.log_odds(f[:, None], r, m),
                lambda released, x=normal, i=ids, m=mask: released.pool(released.joint(x, i, m)[0]),
                counts=(CLIPS, CLIPS),
                operations=statistics.mean(needed_operations(config, config.num_frames, n) for n in LENGTHS),
                goals={"tiny": (3.5, 5), "small": (4, 5.5), "base": (4, 5.5)},
                at_float32=1.25 if size == "base" else None,
            )

    def video(self) -> None:
        for size in self.sizes:
            config = SIZES[size]
            frames, normal = some_frames(config, CLIPS)
            self.compare(
                "video",
                size,
                lambda predictor, f=frames: predictor.embed_clips(f[:, None]),
                lambda released, x=normal: released.video(x),
                counts=(CLIPS, CLIPS),
                operations=needed_operations(config, config.num_frames, 0),
                goals={"base": (4, 5.5)},
            )

    def text(self) -> None:
        """Many captions at once, as in a search or an evaluation; the reference repeats each for 3 frames."""
        many = MANY_LENGTHS * 8
        for size in self.sizes:
            config = SIZES[size]
            ids, mask = texts(config, many)
            rows, num_few = real_tokens(ids, mask), len(MANY_LENGTHS)
            self.compare(
                "text",
                size,
                lambda predictor, r=rows: predictor.embed_tokens(r),
                lambda released, i=ids[:num_few], m=mask[:num_few]: released.text(i, m),
                counts=(len(many), num_few),
                operations=statistics.mean(needed_operations(config, 1, n, video=False) for n in many),
                goals=dict.fromkeys(SIZES, (10, 14)),
            )

    def onnx(self) -> None:
        """The video mode as `allinone export` writes it, in ONNX Runtime."""
        onnxruntime: Any = import_module("onnxruntime")
        for size in self.sizes:
            config = SIZES[size]
            model = AllInOne.build(config, {"contrastive": ContrastiveHead.Config()}).eval()
            [path] = [done.path for done in export(model, self.folder / size) if done.path.stem == "video"]
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = torch.get_num_threads()
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            frames, normal = some_frames(config, CLIPS)
            inputs = {"frames": frames.numpy()}
            works: dict[str, Work] = {
                "reference": partial(Reference(model).video, normal),
                "ONNX Runtime": partial(session.run, None, inputs),
            }
            with torch.inference_mode():
                seconds = in_turns(works, self.rounds)
            slow, fast = ([s / CLIPS for s in seconds[name]] for name in works)
            rate = 1 / statistics.median(fast)
            share = needed_operations(config, config.num_frames, 0) * rate / self.limit_of("float32")
            name = f"video {size}, float32, ONNX Runtime"
            self.add(name, rate, "clips/s", 1 / statistics.median(slow), median_ratio(slow, fast), share)

    def training(self) -> None:
        """Steps of pre-training; peak memory, each in a separate process."""
        for size in self.sizes:
            config, batch = SIZES[size], BATCH[size]
            works = {kind: our_step(config, batch, kind) for kind in ("float32", "bfloat16")}
            works["reference"] = reference_step(config, batch)
            seconds = in_turns(works, max(2, self.rounds // 2))
            memory = {kind: child("training.py", size, kind)["peak_bytes"] / 1e9 for kind in works}
            del works
            slow, peak = seconds.pop("reference"), memory["reference"]
            forward = batch * statistics.mean(needed_operations(config, config.num_frames, n) for n in LENGTHS)
            wanted = {"float32": [(1.5, None), NONE], "bfloat16": [(4, 6), (2, 3)]} if size == "base" else {}
            for kind, times in seconds.items():
                median, (for_time, for_memory) = statistics.median(times), wanted.get(kind, [NONE, NONE])
                share = 2 * 3 * forward / median / self.limit_of(kind)  # two passes, each forward and twice that back
                title, ratio = f"{size}, batch {batch}, {kind}", median_ratio(slow, times)
                self.add(f"training step {title}", median, "s", statistics.median(slow), ratio, share, for_time)
                self.add(f"peak memory {title}", memory[kind], "GB", peak, peak / memory[kind], None, for_memory)

    def data(self) -> None:
        """Three frames, at random moments, from a file never opened before to what the model takes."""
        for name, width, height, gop, wanted in (
            ("640 x 360, GOP 12", 640, 360, 12, NONE),
            ("640 x 360, GOP 60", 640, 360, 60, (3, 5)),
            ("640 x 360, GOP 250", 640, 360, 250, NONE),
            ("1280 x 720, GOP 12", 1280, 720, 12, NONE),
            ("1280 x 720, GOP 250", 1280, 720, 250, NONE),
            ("prepared from 640 x 360, GOP 60", 426, 240, 12, (8, 15)),
            ("prepared so, and from a shard", 426, 240, 12, NONE),
        ):
            path = write_video(self.folder / "clip.mp4", width, height, gop)
            source = write_video(self.folder / "source.mp4", 640, 360, 60) if name.startswith("prepared") else path
            read = video_reader(packed(path) if name.endswith("shard") else path)
            works = {"ours": read, "reference": reference_reader(source), "decoding": decoder(path)}
            seconds = in_turns(works, 6 * self.rounds)
            ours, slow = seconds["ours"], seconds["reference"]
            share = median_ratio(seconds["decoding"], ours)
            rates = [1 / statistics.median(times) for times in (ours, slow)]
            self.add(f"data, {name}", rates[0], "clips/s", rates[1], median_ratio(slow, ours), share, wanted)

    def epoch(self) -> None:
        """Training of tiny from files of 640 x 360, GOP 60: reading and steps together."""
        config, batch = SIZES["tiny"], BATCH["tiny"]
        path = write_video(self.folder / "clip.mp4", 640, 360, 60)
        words = " ".join(f"word{i}" for i in range(100, 110))
        examples = [Example(video=path, video_id=str(i), text=words) for i in range(64)]
        read, step = reference_reader(path), reference_step(config, batch)

        def reference() -> None:
            for _ in range(2 * batch):  # a foreign clip for every clip is decoded too
                read()
            step()

        for workers in (1, 2):
            data = DataConfig(batch_size=batch, num_workers=workers)
            batches = example_loader(
                examples, some_tokenizer(config), data, training=True, num_frames=config.num_frames,
                max_text_len=config.max_text_len,
            ).forever()  # fmt: skip
            ours = our_step(config, batch, "bfloat16", batches)
            seconds = in_turns({"ours": ours, "reference": reference}, self.rounds)
            del batches
            ratio = median_ratio(seconds["reference"], seconds["ours"])
            rates = {name: batch / statistics.median(times) for name, times in seconds.items()}
            name = f"training tiny from files, {workers} worker{'s' * (workers > 1)}"
            self.add(name, rates["ours"], "clips/s", rates["reference"], ratio)


def some_frames(config: ModelConfig, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels, and the normalized floats that the reference gets from its loader."""
    shape = (batch, config.num_frames, 3, config.image_size, config.image_size)
    frames = torch.randint(0, 256, shape, dtype=torch.uint8)
    mean, std = (torch.tensor(x)[:, None, None] for x in (config.image_mean, config.image_std))
    return frames, (frames / 255 - mean) / std


def real_tokens(ids: torch.Tensor, mask: torch.Tensor) -> list[list[int]]:
    return [row[real].tolist() for row, real in zip(ids, mask, strict=True)]


def video_reader(path: Path) -> Callable[[], torch.Tensor]:
    """Its n-th call reads the same random moments as that of the reference's."""
    seeds, transform = itertools.count(), Transform(Transform.Config(random_crop=True))
    return lambda: ClipReader(3, transform).read(Span(path), np.random.default_rng(next(seeds)))


def packed(path: Path) -> Path:
    """Where the same video is read out of a shard."""
    root, to = path.parent / "own", path.parent / "packed"
    root.mkdir()
    shutil.copy(path, root)
    (root / "captions.csv").write_text(f"video,caption\n{path.name},a clip\n")
    shard(find("captioned"), root, to, Limits())
    return to / path.name


def reference_reader(path: Path) -> Callable[[], torch.Tensor]:
    seeds, end_sec = itertools.count(), probe(path).duration_sec or 0.0
    mean, std = (np.array(x, dtype=np.float32) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    def moments() -> list[float]:
        return segment_times(0.0, end_sec, 3, np.random.default_rng(next(seeds)))

    return lambda: read_clip(path, moments(), mean, std)


def decoder(path: Path) -> Callable[[], None]:
    """The decoder by itself: as many frames as there are between three random moments and the keyframes before them.

    That is half a group of pictures and one frame, three times.
    """
    with av.open(str(path)) as container:
        keys = [i for i, packet in enumerate(container.demux(video=0)) if packet.is_keyframe]
        gop = keys[1] - keys[0] if len(keys) > 1 else container.streams.video[0].frames

    def decode() -> None:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            for _ in itertools.islice(container.decode(stream), 3 * (gop // 2 + 1)):
                pass

    return decode


PARTS = ("joint", "video", "text", "onnx", "training", "data", "epoch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--size", nargs="+", choices=("tiny", "small", "base"), default=("tiny", "small", "base"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--to", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(args.size, args.rounds, Path(folder))
        limits = ", ".join(f"{name} {rate / 1e9:.0f} GFLOP/s" for name, rate in bench.limit.items())
        print(f"{bench.report.about['cpu']}, {bench.report.about['threads']} threads: {limits}\n{HEADER}")
        for part in args.only:
            getattr(bench, part)()
        bench.report.finish(args.to)


if __name__ == "__main__":
    main()
