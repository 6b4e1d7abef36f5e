"""A short form of the benchmark, which fails if a ratio is clearly lower than the committed one.

    python benchmarks/regression.py            exits with 1 where a ratio is more than 20 % below the committed one
    python benchmarks/regression.py --write    writes the measured ratios as the new baseline

Robust against noise: CPU seconds, not wall-clock time; ours and the reference alternate; medians of ratios; apparent
slowdowns are measured again, up to twice. Ratios depend on the processor: on another model they are only shown.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from bench import real_tokens, reference_reader, some_frames, video_reader
from measure import ROOT, Work, in_turns, machine, median_ratio
from reference import Reference
from training import LENGTHS, our_step, reference_step, some_tokenizer, texts
from videos import write_video

from allinone.inference import Predictor
from allinone.model.config import TINY
from allinone.model.heads import ContrastiveHead, MatchingHead
from allinone.model.model import AllInOne

COMMITTED = ROOT / "benchmarks" / "results" / "regression.json"
ALLOWED = 0.8
ROUNDS, TRIES = 5, 3

Pair = tuple[Work, Work]  # ours, the reference


def pairs(folder: Path) -> dict[str, Callable[[], Pair]]:
    """By name, what makes the two things to compare."""
    torch.manual_seed(0)
    heads = {"contrastive": ContrastiveHead.Config(), "matching": MatchingHead.Config()}
    model, tokenizer = AllInOne.build(TINY, heads), some_tokenizer(TINY)
    reference = Reference(model.eval())
    frames, normal = some_frames(TINY, 2)
    ids, mask = texts(TINY, LENGTHS)
    rows, one_each = real_tokens(ids, mask), torch.arange(2)[:, None].expand(-1, 2)
    film = write_video(folder / "film.mp4", 640, 360, gop=60)
    prepared = write_video(folder / "prepared.mp4", 426, 240, gop=12)

    def inference(precision: str) -> dict[str, Callable[[], Pair]]:
        predictor = Predictor(model, tokenizer, precision=precision)  # pyright: ignore[reportArgumentType]
        return {
            f"joint, {precision}": lambda: (
                lambda: predictor.log_odds(frames[:, None], rows, one_each),
                lambda: reference.joint(normal, ids[:2], mask[:2]),
            ),
            f"video, {precision}": lambda: (
                lambda: predictor.embed_clips(frames[:, None]),
                lambda: reference.video(normal),
            ),
            f"text, {precision}": lambda: (lambda: predictor.embed_tokens(rows), lambda: reference.text(ids, mask)),
            f"training, {precision}": lambda: (our_step(TINY, 2, precision), reference_step(TINY, 2)),
        }

    return {
        **inference("float32"),
        **inference("bfloat16"),
        "data, GOP 60": lambda: (video_reader(film), reference_reader(film)),
        "data, prepared": lambda: (video_reader(prepared), reference_reader(film)),
    }


def ratio(pair: Pair, training: bool) -> float:
    with torch.inference_mode(not training):
        seconds = in_turns(dict(zip(("ours", "reference"), pair, strict=True)), ROUNDS, time.process_time)
    return median_ratio(seconds["reference"], seconds["ours"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    write = parser.parse_args().write
    torch.set_num_threads(1)
    here = machine()
    committed = {"ratios": {}} if write else json.loads(COMMITTED.read_text())
    same_kind = write or committed["cpu"] == here["cpu"]
    ratios: dict[str, float] = {}
    slower = []
    with tempfile.TemporaryDirectory() as folder:
        for name, make in pairs(Path(folder)).items():
            if "bfloat16" in name and not set(here["instructions"]) & {"avx512_bf16", "amx_bf16"}:
                print(f"{name:20} this processor has no bfloat16")
                continue
            pair, wanted = make(), committed["ratios"].get(name, 0.0) * ALLOWED if same_kind else 0.0
            for _ in range(TRIES):
                ratios[name] = max(ratios.get(name, 0.0), ratio(pair, name.startswith("training")))
                if ratios[name] >= wanted:
                    break
            else:
                slower.append(name)
            print(f"{name:20} {ratios[name]:5.2f} times the reference; at least {wanted:.2f}", flush=True)
    if write:
        COMMITTED.parent.mkdir(exist_ok=True)
        rounded = {name: round(value, 2) for name, value in ratios.items()}
        COMMITTED.write_text(json.dumps(here | {"ratios": rounded}, indent=1) + "\n")
    if not same_kind:
        print(f"not compared: committed ratios are those of {committed['cpu']}, and this is {here['cpu']}")
    else:
        print(f"slower than committed: {', '.join(slower)}" if slower else "no ratio is 20 % below the committed one")
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
