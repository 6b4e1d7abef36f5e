"""UCF101: YouTube clips of 101 human actions (Soomro et al., https://arxiv.org/abs/1212.0402, 2012).

License: none stated; for research.
Get: https://www.crcv.ucf.edu/data/UCF101.php (`UCF101.rar`, and the lists in
`UCF101TrainTestSplits-RecognitionTask.zip`, read packed or unpacked).

    root/ucfTrainTestlist/classInd.txt                              the classes, numbered from 1
    root/ucfTrainTestlist/trainlist01.txt   testlist01.txt          and so 02, 03
    root/UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi

The class HandstandPushups has files named v_HandStandPushups_*; either spelling, of folder and file, is found.
mmaction2's lists (`ucf101_train_split_1_videos.txt`, `ucf101_val_split_1_videos.txt`), numbered from 0, are also read.

Scored by: top-1 accuracy, mean of three folds: `train1` and `test1` to `train3` and `test3`.

One record of `trainlist01.txt`; test lists have no number:

    ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from allinone.data.example import Example, SplitSize
from allinone.datasets.actions import class_names, labeled, listed
from allinone.datasets.base import Card, SplitDataset
from allinone.datasets.files import Annotation, find
from allinone.datasets.videos import Videos, bare


@dataclass(frozen=True)
class Labels(SplitDataset):
    """The clips with their classes."""

    splits = {
        f"{part}{fold}": SplitSize(records=count, videos=count)
        for fold, counts in ((1, (9_537, 3_783)), (2, (9_586, 3_734)), (3, (9_624, 3_696)))
        for part, count in zip(("train", "test"), counts, strict=True)
    }

    def classes(self, root: Path) -> list[str]:
        return self.class_list(root)[0]

    def class_list(self, root: Path) -> tuple[list[str], Annotation]:
        """Return the classes, and the file that numbers them."""
        file = find(root, "classInd.txt")
        lines = [line.partition(" ") for line in file.lines()]
        # Labels are indices into this list, so a gap or another order would shift them.
        if [number for number, _, _ in lines] != [str(n) for n in range(1, len(lines) + 1)]:
            raise file.error("wanted lines '1 ApplyEyeMakeup', numbered from 1 without gaps")
        return class_names(file, (name.strip() for _, _, name in lines)), file

    def examples(self, root: Path) -> Iterator[Example]:
        part, fold = self.split[:-1], self.split[-1]
        other = {"train": "train", "test": "val"}[part]
        file = find(root, f"{part}list0{fold}.txt", f"ucf101_{other}_split_{fold}_videos.txt")
        # The file name has the class in it, so it is unique without the folder.
        clips = (replace(clip, video_id=bare(clip.video_id)) for clip in listed(file, *self.class_list(root)))
        yield from labeled(clips, Videos(root, folders=("UCF-101", "UCF101", "videos"), suffix=".avi"), file)


CARD = Card.of(__doc__, labels=Labels)
