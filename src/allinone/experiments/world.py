"""The synthetic world (`datasets/synthetic`): what `allinone demo` trains and evaluates."""

from dataclasses import replace

from allinone.datasets.synthetic import Captions, OrderPairs, Questions
from allinone.evaluators.classification import AnswerAccuracy
from allinone.evaluators.retrieval import Retrieval
from allinone.evaluators.time_order import Order
from allinone.experiment import Data, Experiment, Source, TokenizerConfig
from allinone.model.config import NANO
from allinone.objectives.answering import Answering
from allinone.objectives.mlm import MLM
from allinone.objectives.vtc import VTC
from allinone.objectives.vtm import VTM
from allinone.train.config import TrainConfig
from allinone.train.optim import Optim
from allinone.video.transforms import Transform


def world_contrast() -> Experiment:
    """The first stage: only the dual stream; two thirds of the batches have clips together with their reversals.

        python -c "from allinone.datasets.synthetic import make_world; make_world('world')"
        allinone train world_contrast --set data.root=world
        allinone train world_joint --set data.root=world init=runs/world_contrast

    Takes two minutes on two cores, and the second stage three and a half. Results are in the README.
    """
    return Experiment(
        model=NANO.replace(max_text_len=24),
        train_data={
            "captions": Source(data=Captions("train")),
            # A clip and its reversal in one batch make order the hardest negative of contrast: 73 % of pairs are right
            # without it, 83 to 100 % with (docs/decisions.md).
            "pairs": Source(data=OrderPairs("train"), sampling_weight=2, group_size=2),
        },
        objectives={"vtc": VTC.Config(learn_temperature=True)},
        evaluators={
            "gallery": Retrieval.Config(data=Captions("test")),
            "order": Order.Config(data=OrderPairs("test"), mode="dual"),
        },
        optim=Optim.Config(lr=1e-3, num_steps=460, warmup=40, end_lr=1e-4),
        # All clips: they are read many times.
        data=Data(batch_size=128, transform=Transform.Config(resize=64, crop=64), cache_mb=2500, length_window=1),
        train=TrainConfig(save_every=200),
        tokenizer=TokenizerConfig(size=200),
    )


def world_joint() -> Experiment:
    """The second stage: all objectives, from the first stage's weights (`init`), with every evaluation."""
    first = world_contrast()
    return replace(
        first,
        train_data={
            "captions": Source(data=Captions("train"), sampling_weight=0.5, batch_size=64),
            "pairs": Source(data=OrderPairs("train"), sampling_weight=1.5, batch_size=64, group_size=2),
            "questions": Source(data=Questions("train"), sampling_weight=4, batch_size=64),
        },
        objectives={
            "vtc": VTC.Config(learn_temperature=True),
            # The joint mode is what this stage adds, and costs most: fewer pairs of each batch take part.
            "vtm": VTM.Config(weight=2.0, negatives="hard", hard_warmup=1.0, max_pairs=24),
            "mlm": MLM.Config(weight=0.2, mask_prob=0.3, max_pairs=8),
            "answers": Answering.Config(weight=2.0, dropout=0.1),
        },
        evaluators={
            "gallery": Retrieval.Config(data=Captions("test"), mode="two_stage", top_k=10, add_cosine=True),
            "answers": AnswerAccuracy.Config(data=Questions("test")),
            "order": Order.Config(data=OrderPairs("test"), mode="dual"),
            "order_joint": Order.Config(data=OrderPairs("test"), mode="joint"),
        },
        # All heads start from scratch here, and the model is as new as they are.
        optim=Optim.Config(lr=1e-3, num_steps=1180, warmup=20, head_lr_mult=1.0),
    )
