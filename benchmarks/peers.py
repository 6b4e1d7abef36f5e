"""Other libraries at the same work on the same machine: CLIP ViT-B/16 for embedding, decord and OpenCV for decoding.

    make bench-peers        (or: pip install -r benchmarks/requirements.txt; python benchmarks/peers.py)

CLIP is transformers' with random weights of openai/clip-vit-base-patch16's shape, in its fastest documented setting for
a CPU: torch's fused attention, in float32 and in bfloat16. A clip is three frames of 224 x 224 (mean of their
embeddings), a text is padded to its batch. Decoders read three random moments of a file that they have not opened yet.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench import MANY_LENGTHS, real_tokens, some_frames, video_reader
from measure import in_turns, machine
from training import some_tokenizer, texts
from videos import write_video

from allinone.inference import Predictor
from allinone.model.config import BASE
from allinone.model.heads import ContrastiveHead
from allinone.model.model import AllInOne

CLIPS = 4


def clip_model(dtype: torch.dtype) -> Any:
    transformers: Any = import_module("transformers")
    torch.manual_seed(0)
    text = transformers.CLIPTextConfig(
        hidden_size=512, intermediate_size=2048, num_hidden_layers=12, num_attention_heads=8
    )
    vision = transformers.CLIPVisionConfig(hidden_size=768, intermediate_size=3072, patch_size=16)
    config = transformers.CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=512)
    config._attn_implementation = "sdpa"
    return transformers.CLIPModel(config).eval().to(dtype)


def embedding(rounds: int) -> dict[str, float]:
    """Clips and texts a second."""
    torch.manual_seed(0)
    model, tokenizer = AllInOne.build(BASE, {"contrastive": ContrastiveHead.Config()}), some_tokenizer(BASE)
    frames, normal = some_frames(BASE, CLIPS)
    ids, mask = texts(BASE, MANY_LENGTHS)
    rows, length = real_tokens(ids, mask), max(MANY_LENGTHS)
    works: dict[str, Callable[[], object]] = {}
    for precision in ("float32", "bfloat16"):
        ours = Predictor(model, tokenizer, precision=precision)
        peer = clip_model(getattr(torch, precision))
        pixels = normal.flatten(0, 1).to(getattr(torch, precision))
        words = {"input_ids": ids[:, :length], "attention_mask": mask[:, :length].long()}
        works[f"clips, ours, {precision}"] = lambda ours=ours: ours.embed_clips(frames[:, None])
        works[f"clips, CLIP ViT-B/16, {precision}"] = lambda peer=peer, x=pixels: peer.get_image_features(
            pixel_values=x
        )
        works[f"texts, ours, {precision}"] = lambda ours=ours: ours.embed_tokens(rows)
        works[f"texts, CLIP ViT-B/16, {precision}"] = partial(peer.get_text_features, **words)
    with torch.inference_mode():
        seconds = in_turns(works, rounds)
    count = {"clips": CLIPS, "texts": len(rows)}
    return {name: count[name.split(",")[0]] / statistics.median(times) for name, times in seconds.items()}


def decoding(rounds: int) -> dict[str, float]:
    """Clips of three frames a second, 640 x 360, keyframes every 12 and every 250."""
    cv2: Any = import_module("cv2")
    decord: Any = import_module("decord")
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for gop in (12, 250):
            path = write_video(Path(folder) / f"{gop}.mp4", 640, 360, gop)
            rng = np.random.default_rng(0)

            def moments(rng: np.random.Generator = rng) -> list[int]:
                return [int(i) for i in np.sort(rng.integers(0, 249, 3))]

            def by_decord(path: Path = path, moments: Callable[[], list[int]] = moments) -> object:
                return decord.VideoReader(str(path), num_threads=1).get_batch(moments())

            def by_opencv(path: Path = path, moments: Callable[[], list[int]] = moments) -> object:
                video = cv2.VideoCapture(str(path))
                frames = []
                for moment in moments():
                    video.set(cv2.CAP_PROP_POS_FRAMES, moment)
                    frames.append(video.read()[1])
                return frames

            works = {"ours": video_reader(path), "decord": by_decord, "OpenCV": by_opencv}
            for name, times in in_turns(works, 3 * rounds).items():
                found[f"decoding, GOP {gop}, {name}"] = 1 / statistics.median(times)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--to", type=Path)
    args = parser.parse_args()
    rates = embedding(args.rounds) | decoding(args.rounds)
    for name, rate in rates.items():
        print(f"{name:40} {rate:8.1f} a second")
    if args.to:
        args.to.parent.mkdir(parents=True, exist_ok=True)
        args.to.write_text(json.dumps(machine() | {"per_second": rates}, indent=1) + "\n")


if __name__ == "__main__":
    main()
