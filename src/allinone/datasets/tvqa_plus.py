"""TVQA+: TVQA's questions on The Big Bang Theory, with corrected spans and boxes (Lei et al., ACL 2020).

License: MIT (questions); frames under an agreement to be signed.
Get: `tvqa_plus_annotations` from https://github.com/jayleicn/TVQAplus; subtitles and frames as for TVQA (`tvqa.py`).

    root/tvqa_plus_train.json   root/tvqa_plus_val.json     JSON lists, or JSON Lines; in any folder up to two below
    root/tvqa_plus_test_preprocessed_no_anno.json           without answers
    root/frames_hq/bbt_frames/s05e02_seg02_clip_00/00001.jpg        and subtitles, as for TVQA

Boxes (`bbox`, by frame) are not read.

Scored by: accuracy; the answers of `test` are with the server. The official scorer, which also scores spans and boxes,
is `eval/eval_tvqa_plus.py` of the repository.

One record of `tvqa_plus_val.json`; `ts` is in seconds:

    {"answer_idx": "1", "qid": 134094, "ts": [5.99, 11.98], "vid_name": "s05e02_seg02_clip_00",
     "q": "Who is Howard talking to ?", "a0": "Raj", "a1": "Leonard", "a2": "Penny", "a3": "Amy", "a4": "Stuart",
     "bbox": {"14": [{"img_id": 14, "top": 153, "label": "Howard", "width": 180, "height": 207, "left": 339}]}}
"""

from dataclasses import dataclass

from allinone.data.example import SplitSize
from allinone.datasets import tvqa
from allinone.datasets.base import Card

TEST = ("test_preprocessed_no_anno.json", "test_public.json", "test_public.jsonl", "test.json")


@dataclass(frozen=True)
class Choices(tvqa.Choices):
    """Every question with its five options; `span` and `subtitles` as for TVQA."""

    splits = {"train": SplitSize(records=23_545), "val": SplitSize(records=3_017), "test": SplitSize(records=2_821)}
    files = {
        "train": ("tvqa_plus_train.json", "tvqa_plus_train.jsonl"),
        "val": ("tvqa_plus_val.json", "tvqa_plus_val.jsonl"),
        "test": tuple(f"tvqa_plus_{name}" for name in TEST),
    }


CARD = Card.of(__doc__, choices=Choices)
