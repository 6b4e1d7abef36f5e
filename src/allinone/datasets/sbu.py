"""SBU Captioned Photos: a million photos of Flickr with their owners' words (Ordonez et al., NeurIPS 2011).

License: none stated; photos of Flickr, under their own terms.
Get: cs.virginia.edu/~vicente/sbucaptions (`sbu-captions-all.tar.gz`, or `SBUCaptionedPhotoDataset.tar.gz`; unpack
them); photos by their URLs.

    root/sbu-captions-all.json                          or instead of it, with a line for each photo:
    root/SBU_captioned_photo_dataset_urls.txt           SBU_captioned_photo_dataset_captions.txt (or captions.txt)
    root/images/00012/000120034.jpg                     as img2dataset writes them (see `web_images.py` for other names)

Scored by: nothing (pre-training).

The layout of `sbu-captions-all.json`:

    {"image_urls": ["http://static.flickr.com/...jpg", ...], "user_ids": [...], "captions": ["My dog in the snow", ...]}
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from allinone.data.example import Example, SplitSize
from allinone.datasets.base import Card, SplitDataset
from allinone.datasets.files import Annotation, find
from allinone.datasets.web_images import Images, captions

URLS, CAPTIONS = "SBU_captioned_photo_dataset_urls.txt", "SBU_captioned_photo_dataset_captions.txt"


@dataclass(frozen=True)
class Captions(SplitDataset):
    """Every caption with its photo."""

    splits = {"train": SplitSize(records=1_000_000, videos=1_000_000)}
    split: str = "train"

    def examples(self, root: Path) -> Iterator[Example]:
        return captions(lambda: photos(root), Images(root))


def photos(root: Path) -> Iterator[tuple[str, str]]:
    """Return caption and URL of every photo."""
    file = find(root, "sbu-captions-all.json", URLS)
    if file.name == URLS.lower():
        return in_lines(file, find(root, CAPTIONS, "captions.txt"))
    content = file.object()
    texts, urls = content.texts("captions", may_be_empty=True), content.texts("image_urls")
    if len(texts) != len(urls):
        raise ValueError(f"{file}: {len(texts)} captions, but {len(urls)} addresses")
    return zip(texts, urls, strict=True)


def in_lines(urls: Annotation, texts: Annotation) -> Iterator[tuple[str, str]]:
    """Yield caption and URL of every line of two files, which must have as many lines."""
    # `stream` keeps blank lines, which count here: the n-th lines of both files belong together.
    for line, (url, text) in enumerate(zip_longest(urls.stream(), texts.stream()), start=1):
        if url is None or text is None:
            short, long = (urls, texts) if url is None else (texts, urls)
            raise short.error(f"ends before line {line}, where {long} goes on")
        yield text, url.strip()


CARD = Card.of(__doc__, captions=Captions)
