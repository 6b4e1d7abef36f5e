"""What all fine-tunings share. The experiments are in `retrieval.py`, `questions.py` and `recognition.py`.

Every run starts from a checkpoint, by default `checkpoints/base`: the released weights, converted with

    allinone convert all-in-one-base.ckpt checkpoints/base --vocab vocab.txt

Batch sizes, learning rates and epochs are those of the released configurations (an epoch shows each video, or each
question, once). `data.global_batch` is the published batch, whatever the number of processes; `data.batch_size` is the
batch that one process has in memory, by default an eighth of it: reduce it for a smaller GPU. With fewer than eight
processes the update is the same, except that a contrastive loss has fewer negatives. Published figures, and ours, are
in `docs/results.md`, under the name of the function. `allinone evaluate checkpoints/base EXPERIMENT` without training
gives the zero-shot score, if the checkpoint has the head for it.
"""

from collections.abc import Callable, Mapping

from allinone.data.example import Dataset
from allinone.evaluators.base import EvaluatorConfig
from allinone.experiment import AnswerVocabConfig, Data, Experiment, Source
from allinone.model.config import BASE
from allinone.objectives.base import ObjectiveConfig
from allinone.train.config import TrainConfig
from allinone.train.optim import Optim
from allinone.video.transforms import Transform

Reader = Callable[[str], Dataset]
"""A reader of a data set, which is given a split."""

AUGMENTED = Transform.Config(random_crop=True, augment=2)
CROPPED = Transform.Config(random_crop=True)


def finetune(
    train: Dataset | Mapping[str, Dataset],
    objectives: Mapping[str, ObjectiveConfig],
    evaluators: Mapping[str, EvaluatorConfig],
    *,
    num_samples: int,
    num_epochs: int,
    batch_size: int,
    lr: float = 1e-4,
    transform: Transform.Config = CROPPED,
    num_frames: int = 3,
    max_text_len: int = 40,
    num_answers: int | None = None,
    frozen: bool = False,
) -> Experiment:
    """Return a fine-tuning of the base size.

    Args:
        train: one data set, or several by name.
        num_samples: what an epoch shows.
        batch_size: clips of an update, over all processes.
        num_answers: size of the vocabulary of answers; None for all answers of the training data.
        frozen: train only the heads.
    """
    sources = train if isinstance(train, Mapping) else {"train": train}
    return Experiment(
        model=BASE.replace(num_frames=num_frames, max_text_len=max_text_len),
        train_data={name: Source(data=data) for name, data in sources.items()},
        objectives=objectives,
        evaluators=evaluators,
        optim=Optim.Config(lr=lr, num_steps=num_samples * num_epochs // batch_size),
        # 8 GPUs; with fewer, gradients are accumulated.
        data=Data(batch_size=batch_size // 8, global_batch=batch_size, transform=transform, num_workers=8),
        train=TrainConfig(precision="bfloat16", freeze_encoder=frozen),
        answers=AnswerVocabConfig(max_size=num_answers),
        init="checkpoints/base",
    )
