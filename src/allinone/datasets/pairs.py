"""Videos with their captions as papers republish them: one record a video or a caption, in JSON, JSON Lines or a table.

[{"video": "video7010.mp4", "caption": "a man is cooking"}, ...]        Singularity, VindLU, UMT; several: a list
{"clip_name": "video7010", "caption": "a man is cooking"}               ClipBERT, one a line
caption TAB video                                                       Frozen, All-in-One; after any header
"""

from collections.abc import Iterator
from itertools import islice

from allinone.datasets.files import Annotation

VIDEO = ("video", "clip_name", "video_id")


def pairs(file: Annotation) -> Iterator[tuple[str, list[str]]]:
    """What each record calls its video, and its captions."""
    if file.name.endswith(".tsv"):
        for row in file.some(islice(file.rows("video", delimiter="\t", header=("caption", "video")), 1, None)):
            yield row["video"], [row["caption"]]
        return
    for number, record in enumerate(file.objects("caption"), start=1):
        video = next((record[name] for name in VIDEO if name in record), None)
        captions = record["caption"] if isinstance(record["caption"], list) else [record["caption"]]
        if not isinstance(video, str) or not captions or not all(isinstance(text, str) for text in captions):
            names = ", ".join(VIDEO)
            raise ValueError(f"{file}: record {number}: wanted one of {names}, and captions, got {record!r:.80}")
        yield video, captions
