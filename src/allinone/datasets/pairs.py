"""Videos with their captions as papers republish them: one record a video or a caption, in JSON, JSON Lines or a table.

[{"video": "video7010.mp4", "caption": "a man is cooking"}, ...]        Singularity, VindLU, UMT; several: a list
{"clip_name": "video7010", "caption": "a man is cooking"}               ClipBERT, one a line
caption TAB video                                                       Frozen, All-in-One; after any header
"""

from collections.abc import Iterator
from itertools import islice
from operator import itemgetter

from allinone.datasets.base import distinct
from allinone.datasets.files import Annotation

VIDEO = ("video", "clip_name", "video_id", "image")


def pairs(file: Annotation, may_be_empty: bool = False) -> Iterator[tuple[str, list[str]]]:
    """What each record calls its video (or image), and its captions.

    A video whose captions stand in one list has one record. `may_be_empty` is about captions.
    """
    if file.name.endswith(".tsv"):
        for row in file.some(islice(file.rows("video", delimiter="\t", header=("caption", "video")), 1, None)):
            yield row["video"], [row.text("caption", may_be_empty=may_be_empty)]
        return

    def told() -> Iterator[tuple[str | int, str, list[str]]]:
        for number, record in enumerate(file.objects("caption")):
            video = record.text(*VIDEO)
            if isinstance(record["caption"], list):
                yield video, video, record.texts("caption", may_be_empty=may_be_empty)
            else:
                yield number, video, [record.text("caption", may_be_empty=may_be_empty)]

    for _, video, captions in distinct(told(), file, key=itemgetter(0)):
        yield video, captions
