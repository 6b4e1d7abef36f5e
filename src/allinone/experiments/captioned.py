"""Train on your own folder of videos with captions; its layout is described in `datasets/captioned.py`."""

from dataclasses import replace

from allinone.datasets.captioned import Captions
from allinone.evaluators.recognition import RecognitionAccuracy
from allinone.evaluators.retrieval import Retrieval
from allinone.experiment import Data, Experiment, Source, TokenizerConfig
from allinone.model.config import NANO
from allinone.objectives.mlm import MLM
from allinone.objectives.vtc import VTC
from allinone.objectives.vtm import VTM
from allinone.train.config import TrainConfig
from allinone.train.optim import Optim
from allinone.video.transforms import Transform

SMALLEST = NANO.replace(width=128, image_size=96, num_frames=4, max_text_len=40)
"""Learns a small folder from scratch on a CPU in minutes; for many videos start from a checkpoint (`init`)."""


def captioned() -> Experiment:
    """Text-video retrieval on a folder with a `captions.csv`, from scratch, with every fourth video held out by name.

        allinone train captioned --set data.root=my_clips

    From a checkpoint: `init=checkpoints/base`. If the file has a column `split`:
    `train_data.captions.data.hold_out=null evaluators.val.data.hold_out=null`. To train and evaluate on all clips:
    `train_data.captions.data.hold_out=null train_data.captions.data.split=null`, and the same for `val`.
    Takes minutes on a CPU for tens of clips.
    """
    return Experiment(
        model=SMALLEST,
        train_data={"captions": Source(data=Captions(split="train", hold_out=4))},
        objectives={
            "vtc": VTC.Config(learn_temperature=True),
            "vtm": VTM.Config(max_pairs=16),  # half a batch: the joint mode costs more than the dual stream
            "mlm": MLM.Config(max_pairs=16),
        },
        evaluators={"val": Retrieval.Config(data=Captions(split="val", hold_out=4))},
        optim=Optim.Config(lr=5e-4, num_steps=300, weight_decay=0.05),
        data=Data(
            batch_size=32,
            transform=Transform.Config(resize=112, crop=96, random_crop=True, flip_prob=0.5, augment=1),
            cache_mb=2000,  # small videos are decoded once, not in each of many epochs
            drop_last=False,  # a small folder may not fill one batch
        ),
        train=TrainConfig(save_every=100),
        tokenizer=TokenizerConfig(size=2000),
    )


def recognition() -> Experiment:
    """Recognition on a folder with names of classes as captions; every fourth video is held out by name.

        allinone train recognition --set data.root=my_clips

    Clips with the same caption are positives of each other. The score is the percentage of held-out clips for which
    the right name fits best.
    """
    base = captioned()
    return replace(
        base,
        objectives={"vtc": VTC.Config(learn_temperature=True)},
        evaluators={"val": RecognitionAccuracy.Config(data=Captions(split="val", hold_out=4))},
        optim=Optim.Config(lr=5e-4, num_steps=200, weight_decay=0.1),
    )
