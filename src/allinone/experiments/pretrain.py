"""Pre-training: videos with texts from the web, and images too (the paper's B+).

Every run starts from ImageNet weights, converted with

    allinone convert timm/vit_base_patch16_224.augreg_in21k_ft_in1k checkpoints/vit-base --vocab vocab.txt

`data.root` is a folder with one folder for each data set (`webvid`, `howto100m`, `cc3m`, ...). Losses are masked words,
matching, and alignment of words and patches with weight 0.1; AdamW at 1e-4 with 2,500 of 200,000 steps of warmup. The
paper's batches have 4,096 clips (B+: 2,048) on 32 to 128 GPUs: `data.global_batch`, made of batches of 32 clips in each
process. Each batch is of one source, drawn by sampling weight. Results of released weights are in `docs/results.md`.
"""

from collections.abc import Mapping

from allinone.data.example import Dataset
from allinone.datasets import (
    cc3m,
    cc12m,
    coco,
    egoclip,
    howto100m,
    msrvtt,
    sbu,
    visual_genome,
    webshards,
    webvid,
    yt_temporal,
)
from allinone.evaluators.retrieval import Retrieval
from allinone.experiment import Data, Experiment, Source
from allinone.model.config import BASE
from allinone.objectives.alignment import Alignment
from allinone.objectives.base import ObjectiveConfig
from allinone.objectives.mlm import MLM
from allinone.objectives.vtc import VTC
from allinone.objectives.vtm import VTM
from allinone.train.config import TrainConfig
from allinone.train.optim import Optim
from allinone.video.transforms import Transform

RELEASED: Mapping[str, ObjectiveConfig] = {"vtm": VTM.Config(), "mlm": MLM.Config(), "alignment": Alignment.Config()}
"""The losses of the released weights, which have no contrastive head."""

WITH_CONTRAST: Mapping[str, ObjectiveConfig] = {"vtc": VTC.Config(), **RELEASED}


def pretrain() -> Experiment:
    """All-in-One-B: WebVid2.5M and HowTo100M.

        torchrun --nproc-per-node 8 -m allinone train pretrain --set data.root=/data init=checkpoints/vit-base

    The other sizes start from other weights: `init=checkpoints/deit-tiny` or `deit-small`, and take their size from it.
    """
    return _pretrain({"webvid": _webvid(), "howto100m": _howto100m()}, RELEASED)


def pretrain_webvid() -> Experiment:
    """Only WebVid2.5M, with contrast, which zero-shot retrieval needs; feasible on eight GPUs.

        torchrun --nproc-per-node 8 -m allinone train pretrain_webvid --set data.root=/data init=checkpoints/vit-base

    Scored on MSR-VTT's `1kA` (`/data/msrvtt`) without fine-tuning. No figure in the paper.
    """
    return _pretrain({"webvid": _webvid()}, WITH_CONTRAST, global_batch=256, num_steps=100_000)


def pretrain_shards() -> Experiment:
    """Tars of videos with captions that video2dataset wrote to `/data/webshards`, with contrast.

        torchrun --nproc-per-node 8 -m allinone train pretrain_shards --set data.root=/data init=checkpoints/vit-base

    Another folder: `train_data.webshards.folder=NAME`; only the tars in its folder `train`:
    `train_data.webshards.data.split=train`. Scored as `pretrain_webvid`. No figure in the paper.
    """
    source = Source(data=webshards.Captions(), folder="webshards")
    return _pretrain({"webshards": source}, WITH_CONTRAST, global_batch=256, num_steps=100_000)


def pretrain_three() -> Experiment:
    """WebVid2.5M, HowTo100M and YT-Temporal180M.

    torchrun --nproc-per-node 8 -m allinone train pretrain_three --set data.root=/data init=checkpoints/vit-base
    """
    return _pretrain({"webvid": _webvid(), "howto100m": _howto100m(), "yt_temporal": _yt_temporal()}, RELEASED)


def pretrain_plus() -> Experiment:
    """All-in-One-B+ on two data sets: WebVid2.5M, and the images of CC3M as clips of one frame, in equal parts.

    torchrun --nproc-per-node 8 -m allinone train pretrain_plus --set data.root=/data init=checkpoints/vit-base
    """
    return _pretrain(
        {"webvid": _webvid(), "cc3m": _images(cc3m.Captions("train"), "cc3m")}, RELEASED, global_batch=2_048
    )


def pretrain_plus_seven() -> Experiment:
    """All-in-One-B+ on seven data sets or, with SBU, eight: videos and images in equal parts, larger sets more often.

        torchrun --nproc-per-node 8 -m allinone train pretrain_plus_seven --set data.root=/data \\
            init=checkpoints/vit-base
    """
    # Weights of videos add up to 1, and so do those of images: equal parts.
    videos = {"webvid": _webvid(0.4), "howto100m": _howto100m(0.4), "yt_temporal": _yt_temporal(0.2)}
    images = {
        "cc12m": _images(cc12m.Captions("train"), "cc12m", 0.5),
        "cc3m": _images(cc3m.Captions("train"), "cc3m", 0.2),
        "coco": _images(coco.Captions("train"), "coco", 0.1),
        "visual_genome": _images(visual_genome.Captions("train"), "visual_genome", 0.1),
        "sbu": _images(sbu.Captions("train"), "sbu", 0.1),
    }
    return _pretrain(videos | images, RELEASED, global_batch=2_048)


def pretrain_egoclip() -> Experiment:
    """EgoClip: narrated clips of Ego4D, for EgoMCQ.

    torchrun --nproc-per-node 8 -m allinone train pretrain_egoclip --set data.root=/data init=checkpoints/vit-base
    """
    source = Source(data=egoclip.Captions("train"), folder="egoclip")
    return _pretrain({"egoclip": source}, WITH_CONTRAST, global_batch=256, num_steps=100_000)


def _webvid(sampling_weight: float = 1.0) -> Source:
    return Source(data=webvid.Captions("train2M"), folder="webvid", sampling_weight=sampling_weight)


def _howto100m(sampling_weight: float = 1.0) -> Source:
    return Source(data=howto100m.Captions(), folder="howto100m", sampling_weight=sampling_weight)


def _yt_temporal(sampling_weight: float = 1.0) -> Source:
    return Source(data=yt_temporal.Captions(), folder="yt_temporal", sampling_weight=sampling_weight)


def _images(data: Dataset, folder: str, sampling_weight: float = 1.0) -> Source:
    return Source(data=data, folder=folder, sampling_weight=sampling_weight, num_frames=1)


def _pretrain(
    sources: Mapping[str, Source],
    objectives: Mapping[str, ObjectiveConfig],
    global_batch: int = 4_096,
    num_steps: int = 200_000,
) -> Experiment:
    zero_shot = {"msrvtt": Retrieval.Config(data=msrvtt.Captions("1kA"), folder="msrvtt")}
    return Experiment(
        model=BASE,
        train_data=sources,
        objectives=objectives,
        evaluators=zero_shot if "vtc" in objectives else {},  # without contrast, a dual stream has nothing to rank by
        optim=Optim.Config(lr=1e-4, num_steps=num_steps, warmup=2_500),
        data=Data(
            batch_size=32, global_batch=global_batch, transform=Transform.Config(random_crop=True), num_workers=8
        ),
        train=TrainConfig(precision="bfloat16", save_every=2_000),
        init="checkpoints/vit-base",
    )
