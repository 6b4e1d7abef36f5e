"""Files of images with several captions each, as people share them: Karpathy's JSON, ALBEF's JSON, tables of tokens.

Karpathy's, `{"images": [...]}`, has all splits of a data set; ALBEF has a file for each split, with an object for each
image (val, test) or for each caption (train):

    {"filepath": "val2014", "filename": "COCO_val2014_000000391895.jpg", "split": "test", "cocoid": 391895,
     "sentences": [{"raw": "a man rides a motorbike", "sentid": 770337}, ...]}
    {"image": "val2014/COCO_val2014_000000391895.jpg", "caption": ["a man rides a motorbike", ...]}

Tables have a row for each caption, numbered or not, and no splits:

    1000092795.jpg#0 TAB Two young men stand in a garden .          .token
    1000092795.jpg| 0| Two young men stand in a garden .            results.csv
    image,caption                                                   captions.txt, which begins with this line
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain
from operator import itemgetter
from pathlib import Path

from allinone.datasets.base import distinct
from allinone.datasets.fields import shown
from allinone.datasets.files import Annotation
from allinone.datasets.records import Captioned, numbered, read_captions
from allinone.datasets.videos import bare

# The second separator may be only a space: a line of Flickr30k's results.csv lacks the second bar.
TOKEN = re.compile(r"([^#|\t]+?)\s*[#|]\s*(\d+)\s*[|\s]\s*(.*)")
MAX_TOKEN = 10_000
"""Longer lines are not captions, and the pattern would take its time with them."""

KARPATHY = ("train", "restval", "val", "test")
"""The splits of images in Karpathy's files."""


def in_karpathy(file: Annotation, splits: Iterable[str]) -> Iterator[Captioned]:
    """Yield the images of some splits; the files of COCO may have the names of its release of 2017, too."""
    wanted = frozenset(splits)

    def of_splits() -> Iterator[Captioned]:
        images = file.under("images", "split", "filename", "sentences")
        for image in distinct(images, file, key=lambda image: image.text("filename")):
            if (split := image.text("split")) not in KARPATHY:
                raise image.error(f"no split {shown(split)}; there are: {', '.join(KARPATHY)}")
            if split not in wanted:
                continue
            name = image.text("filename")
            # Names that the photo may have: with COCO's folder, without, and as in the release of 2017 (the id in 12
            # digits).
            files = [f"{image.text('filepath')}/{name}"] if image.optional("filepath") else []
            files += [name] + ([image.name("cocoid").zfill(12)] if image.has("cocoid") else [])
            captions = ((caption.name("sentid"), caption.text("raw")) for caption in image.objects("sentences"))
            yield Captioned(tuple(files), tuple(captions))

    images = iter(of_splits())
    # None at all, although the file is whole, means that it has other splits.
    if (first := next(images, None)) is None:
        raise file.error(f"no image of the split {' or '.join(sorted(wanted))}")
    yield from chain([first], images)


def in_albef(file: Annotation) -> Iterator[Captioned]:
    """Yield the images of a file of one split; the captions of an image may be in several objects."""
    captions: dict[str, list[str]] = defaultdict(list)
    for image, texts in read_captions(file):
        captions[image] += texts
    yield from (numbered((image, Path(image).name), texts) for image, texts in captions.items())


def in_table(file: Annotation) -> dict[str, Captioned]:
    """Return the images of a table by name without extension, in its order."""
    captions: dict[str, list[str]] = defaultdict(list)
    names: dict[str, str] = {}
    # results.csv also begins with a header (`image_name| comment_number| comment`), but has bars between its columns.
    first = file.first_line().strip().lower().replace('"', "")
    has_header = first.startswith("image")
    rows = in_columns(file) if has_header and "," in first else in_tokens(file, has_header)
    for image, text in rows:
        # Lists of a split name images without extension, so two images must differ in more than that.
        if names.setdefault(bare(image), image) != image:
            raise file.error(f"two images of one name: {shown(names[bare(image)])} and {shown(image)}")
        captions[image].append(text)
    return {bare(image): numbered((image,), texts) for image, texts in captions.items()}


def in_columns(file: Annotation) -> Iterator[tuple[str, str]]:
    """Yield image and caption of each row of a table with a header."""
    for row in file.rows():
        yield row.text("image", "image_name"), row.text("caption", "comment")


def in_tokens(file: Annotation, has_header: bool) -> Iterator[tuple[str, str]]:
    """Yield image and caption of each line `image.jpg#0 caption`, without exact repeats."""

    def tokens() -> Iterator[tuple[str, str, str]]:
        for line, content in file.numbered():
            # The header of results.csv has no number in its second column, so it does not match.
            match = TOKEN.fullmatch(content.strip()) if len(content) <= MAX_TOKEN else None
            if match and match[3]:
                yield match[1], match[2], match[3]
            elif not (line == 1 and has_header):
                raise file.error(f"line {line}: wanted image.jpg#0 and a caption, got {shown(content.strip())}")

    for image, _, text in distinct(tokens(), file, key=itemgetter(0, 1)):
        yield image, text


def listed(table: Annotation, names: Annotation, images: dict[str, Captioned]) -> Iterator[Captioned]:
    """Yield the images that the file `names` lists, in its order; `table` is the file of the captions."""
    for name in distinct(map(bare, names.lines()), names, key=str):
        if name not in images:
            raise table.error(f"no caption of image {shown(name)}, which {names} lists")
        yield images[name]
