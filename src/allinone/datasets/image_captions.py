"""Images with several captions each, in the files that people share: Karpathy's JSON, ALBEF's JSON, tables of tokens.

Karpathy's, `{"images": [...]}`, has all splits of a data set; ALBEF's a file for each split, with an object for an
image (val, test) or for a caption (train):

    {"filepath": "val2014", "filename": "COCO_val2014_000000391895.jpg", "split": "test", "cocoid": 391895,
     "sentences": [{"raw": "a man rides a motorbike", "sentid": 770337}, ...]}
    {"image": "val2014/COCO_val2014_000000391895.jpg", "caption": ["a man rides a motorbike", ...]}

Tables have a row for a caption, numbered or not, and no splits:

    1000092795.jpg#0 TAB Two young men stand in a garden .          .token
    1000092795.jpg| 0| Two young men stand in a garden .            results.csv
    image,caption                                                   captions.txt, which begins with this line
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from allinone.data.example import Example
from allinone.datasets.base import distinct
from allinone.datasets.files import Annotation, Videos, bare, tidy

TOKEN = re.compile(r"([^#|\t]+?)\s*[#|]\s*(\d+)\s*[|\s]\s*(.*)")


@dataclass(frozen=True)
class Captioned:
    """Captions of an image, with their names in the data set; `files` may be its file, the likeliest name first."""

    files: tuple[str, ...]
    captions: tuple[tuple[str, str], ...]

    @property
    def image_id(self) -> str:
        return bare(self.files[0])


def captions(images: Iterable[Captioned], videos: Videos) -> Iterator[Example]:
    """An example for each caption."""
    for image in images:
        path = videos.path(*image.files)
        for name, text in image.captions:
            yield Example(id=name, video=path, video_id=image.image_id, text=tidy(text))


def in_karpathy(file: Annotation, splits: Iterable[str]) -> Iterator[Captioned]:
    """The images of some splits; those of COCO may be named as in its release of 2017, too."""
    wanted = frozenset(splits)
    for image in distinct(file.under("images", "split", "filename", "sentences"), file, key=itemgetter("filename")):
        if image["split"] not in wanted:
            continue
        name = image["filename"]
        files = [f"{image['filepath']}/{name}"] if image.get("filepath") else []
        files += [name] + ([f"{image['cocoid']:012d}"] if image.get("cocoid") is not None else [])
        sentences = [file.checked(said, f"a sentence of {name}", ("sentid", "raw")) for said in image["sentences"]]
        yield Captioned(tuple(files), tuple((str(said["sentid"]), said["raw"]) for said in sentences))


def in_albef(file: Annotation) -> Iterator[Captioned]:
    """The images of a file of one split; the captions of an image may be in several objects."""
    found: dict[str, list[str]] = defaultdict(list)
    for record in file.objects("image", "caption"):
        texts = record["caption"]
        found[record["image"]] += texts if isinstance(texts, list) else [texts]
    yield from (numbered((image, Path(image).name), texts) for image, texts in found.items())


def in_table(file: Annotation) -> dict[str, Captioned]:
    """The images of a table by name without extension, in its order."""
    found: dict[str, list[str]] = defaultdict(list)
    first = next(file.stream(), "").strip().lower().replace('"', "")
    if first.startswith("image") and "," in first:
        for row in file.rows():
            text = row.get("caption", row.get("comment"))
            image = row.get("image", row.get("image_name"))
            if not image or text is None:
                raise ValueError(f"{file}: wanted columns image and caption, got {', '.join(row)}")
            found[image].append(text)
    else:
        for line, content in file.numbered():
            if match := TOKEN.fullmatch(content.strip()):
                found[match[1]].append(match[3])
            elif not (line == 1 and first.startswith("image")):
                raise ValueError(f"{file}: line {line}: wanted image.jpg#0 and a caption, got {content.strip()!r:.40}")
    return {bare(image): numbered((image,), texts) for image, texts in found.items()}


def numbered(files: tuple[str, ...], texts: Iterable[str]) -> Captioned:
    name = bare(files[0])
    return Captioned(files, tuple((f"{name}#{number}", text) for number, text in enumerate(texts)))


def listed(file: Annotation, names: Iterable[str], images: dict[str, Captioned]) -> Iterator[Captioned]:
    """The images of a list, in its order and each once; `file` is their table."""
    for name in dict.fromkeys(map(bare, names)):
        if name not in images:
            raise ValueError(f"{file}: no caption of image {name!r}, which the list of the split names")
        yield images[name]
