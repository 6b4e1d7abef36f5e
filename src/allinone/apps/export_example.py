"""Embed a video and texts with the files of this folder: python example.py clip.mp4 "a dog catches a ball" ...

Needs onnxruntime, av, numpy and tokenizers. `preprocess.json` describes the steps below.
"""

import json
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import onnxruntime
from tokenizers import Tokenizer

FOLDER = Path(__file__).parent
SPEC = json.loads((FOLDER / "preprocess.json").read_text(encoding="utf-8"))


def run(name: str, **inputs: np.ndarray) -> np.ndarray:
    """Run one of the ONNX files."""
    session = onnxruntime.InferenceSession(FOLDER / name, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, inputs)[0])


def read_clip(path: str) -> np.ndarray:
    """Return the frame in the middle of each equal part of the video: uint8 [1, count, 3, crop, crop]."""
    # 1. How long it lasts, by its packets (nothing is decoded): from the first picture or sound, which is the player's
    # 0, to the end of the last picture.
    with av.open(path) as film:
        stream: Any = film.streams.best("video")
        start = (film.start_time or 0) / av.time_base
        end = max(float((p.pts + (p.duration or 0)) * p.time_base) for p in film.demux(stream) if p.pts is not None)
    # 2. Decode once. The frame shown at a time is the last that begins at or before it; before the first, the first.
    count, shown = SPEC["frames"]["count"], {}
    with av.open(path) as film:
        stream = film.streams.best("video")
        for frame in film.decode(stream):
            for i in range(count):
                time = start + (i + 0.5) / count * (end - start) + SPEC["frames"]["tolerance_sec"]
                if i not in shown or frame.time <= time:
                    shown[i] = frame
        clip = [square(shown[i], float(stream.sample_aspect_ratio or 1)) for i in range(count)]
    return np.stack(clip).transpose(0, 3, 1, 2)[None]


def square(frame: av.VideoFrame, pixel_aspect: float) -> np.ndarray:
    """Return the upright central square of a frame, as the model takes it."""
    short_side, crop = SPEC["resize"]["short_side"], SPEC["resize"]["crop"]
    # Make pixels square by enlarging one side, then scale down, then turn upright.
    width, height = round(frame.width * max(1, pixel_aspect)), round(frame.height / min(1, pixel_aspect))
    if (short := min(width, height)) > short_side:
        width, height = round(width * short_side / short), round(height * short_side / short)
    pixels = np.rot90(frame.reformat(width, height, "rgb24").to_ndarray(), frame.rotation // 90)
    side = max(1, round(min(width, height) * crop / short_side))
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    return resize(pixels[top : top + side, left : left + side], crop)


def resize(pixels: np.ndarray, size: int) -> np.ndarray:
    """Resize (bilinear, antialiased) in integers as Pillow and torch do: columns, then rows, each rounded to 8 bits."""
    for axis in (1, 0) if pixels.shape[0] != size else ():  # a picture of the right size stays as it is
        scale = pixels.shape[axis] / size
        support = max(1.0, scale)  # pixels on either side that a new one averages; when enlarging, its neighbors
        center, source = (np.arange(size)[:, None] + 0.5) * scale, np.arange(pixels.shape[axis])
        # The range is rounded as in Pillow: a pixel outside has weight 0 even where the triangle covers a part of it.
        inside = (source >= np.floor(center - support + 0.5)) & (source < np.floor(center + support + 0.5))
        weights = inside * np.maximum(0, 1 - np.abs(source + 0.5 - center) / support)
        weights /= weights.sum(axis=1, keepdims=True)
        # Weights are integers in parts of `one`: the largest power of 2 with which all fit into 16 bits.
        one = 2 ** next(bits for bits in range(23) if bits == 22 or weights.max() * 2 ** (bits + 1) + 0.5 >= 2**15)
        sums = np.tensordot(np.floor(weights * one + 0.5), pixels.astype(np.float64), (1, axis))
        pixels = np.clip(np.floor(np.moveaxis(sums, 0, axis) / one + 0.5), 0, 255)
    return pixels.astype(np.uint8)


def read_texts(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return token ids [N, L], padded to the longest text, and the mask that is True where a token is real."""
    spec, tokenizer = SPEC["text"], Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    rows = [tokenizer.encode(text).ids for text in texts]
    # A text that is cut still ends with the separator.
    rows = [row if len(row) <= spec["max_len"] else [*row[: spec["max_len"] - 1], spec["sep_id"]] for row in rows]
    longest = max(map(len, rows))
    ids = np.array([row + [spec["pad_id"]] * (longest - len(row)) for row in rows])
    return ids, np.arange(longest) < np.array([[len(row)] for row in rows])


if __name__ == "__main__":
    path, *texts = sys.argv[1:]
    ids, mask = read_texts(texts)
    video, text = run("video.onnx", frames=read_clip(path)), run("text.onnx", text_ids=ids, text_mask=mask)
    for line, similarity in zip(texts, text @ video[0], strict=True):
        print(f"{similarity:.4f} {line}")
