"""Synthetic captions and questions in the layouts of image data sets.

A video may stand for an image: all readers find a file by its name, whatever its extension.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from layouts.item import Item, place
from layouts.questions import by_split, write_json, write_lines

SUBSETS = {"train": "train2014", "val": "val2014", "test": "test2015"}


def write_coco(root: Path, items: Sequence[Item]) -> None:
    write_karpathy(root, items, "coco", "COCO_val2014_{:012d}", "val2014", {"filepath": "val2014"})


def write_flickr30k(root: Path, items: Sequence[Item]) -> None:
    write_karpathy(root, items, "flickr30k", "{}", "flickr30k-images", {})


def write_karpathy(
    root: Path, items: Sequence[Item], name: str, file_name: str, folder: str, fields: dict[str, str]
) -> None:
    images: dict[tuple[Path, str], list[tuple[int, Item]]] = defaultdict(list)
    for n, item in enumerate(items):
        images[item.video, item.split].append((n, item))
    records = []
    for n, ((video, split), captioned) in enumerate(images.items(), start=1):
        called = file_name.format(n) + video.suffix
        place(video, root / folder / called)
        sentences = [{"raw": item.caption, "imgid": n, "sentid": sentence} for sentence, item in captioned]
        records.append({"filename": called, "imgid": n, "split": split, "sentences": sentences} | fields)
    write_json(root / f"dataset_{name}.json", {"images": records, "dataset": name})


def write_vqav2(root: Path, items: Sequence[Item]) -> None:
    """Ten people give the answer of the item. `test` has none, as at the server; all of it is `test-dev` too."""
    images: dict[tuple[Path, str], int] = {}
    for split, chosen in by_split(items):
        name, questions, annotations = SUBSETS[split], [], []
        for n, item in chosen:
            image = images.setdefault((item.video, split), len(images) + 1)
            place(item.video, root / name / f"COCO_{name}_{image:012d}{item.video.suffix}")
            ids = {"image_id": image, "question_id": 1000 * image + n}
            questions.append(ids | {"question": item.question})
            kinds = {"yes": "yes/no", "no": "yes/no"} | {str(number): "number" for number in range(100)}
            ten = [{"answer": item.answer, "answer_confidence": "yes", "answer_id": i} for i in range(1, 11)]
            about = {"question_type": "what", "answer_type": kinds.get(item.answer, "other"), "answers": ten}
            annotations.append(ids | about | {"multiple_choice_answer": item.answer})
        for part in (name, "test-dev2015") if split == "test" else (name,):
            write_json(root / f"v2_OpenEnded_mscoco_{part}_questions.json", {"questions": questions})
        if split != "test":
            write_json(root / f"v2_mscoco_{name}_annotations.json", {"annotations": annotations})


def write_nlvr2(root: Path, items: Sequence[Item]) -> None:
    """Each item becomes a sentence about a pair of the same image twice; its answer is yes or no, or true or false."""
    labels = {"true": "True", "yes": "True", "false": "False", "no": "False"}
    for split, chosen in by_split(items):
        name, lines = {"train": "train", "val": "dev", "test": "test1"}[split], []
        for n, item in chosen:
            pair = f"{name}-{n}-0"
            folder = root / "images" / name / "7" if split == "train" else root / "images" / name
            for side in (0, 1):
                place(item.video, folder / f"{pair}-img{side}{item.video.suffix}")
            record = {"identifier": f"{pair}-0", "sentence": item.question, "label": labels[item.answer]}
            lines.append(json.dumps(record | ({"directory": 7} if split == "train" else {})))
        write_lines(root / f"{name}.json", lines)


def write_cc3m(root: Path, items: Sequence[Item]) -> None:
    """There is no `test`: its items are skipped."""
    for split, chosen in by_split(items):
        if split != "test":
            names = {"train": "Train_GCC-training.tsv", "val": "Validation_GCC-1.1.0-Validation.tsv"}
            rows = write_shard(root / split, [item for _, item in chosen])
            write_lines(root / names[split], (f"{caption}\t{url}" for caption, url in rows))


def write_cc12m(root: Path, items: Sequence[Item]) -> None:
    """There is only `train`; other items are skipped, here and below."""
    rows = write_shard(root / "images", [item for item in items if item.split == "train"])
    write_lines(root / "cc12m.tsv", (f"{url}\t{caption}" for caption, url in rows))


def write_sbu(root: Path, items: Sequence[Item]) -> None:
    rows = write_shard(root / "images", [item for item in items if item.split == "train"])
    captions, urls = zip(*rows, strict=True)
    users = [f"user{n}" for n in range(len(rows))]
    write_json(root / "sbu-captions-all.json", {"image_urls": urls, "user_ids": users, "captions": captions})


def write_shard(folder: Path, items: Sequence[Item]) -> list[tuple[str, str]]:
    """Write images with captions and URLs next to them, as img2dataset does; return captions and URLs."""
    rows = []
    for n, item in enumerate(items):
        path = folder / "00000" / f"{n:09d}{item.video.suffix}"
        place(item.video, path)
        caption, url = item.caption, f"http://www.example.com/photos/{n}.jpg"
        write_json(path.with_suffix(".json"), {"caption": caption, "url": url, "key": path.stem, "status": "success"})
        path.with_suffix(".txt").write_text(caption)
        rows.append((caption, url))
    return rows


def write_visual_genome(root: Path, items: Sequence[Item]) -> None:
    photos: dict[Path, list[tuple[int, Item]]] = defaultdict(list)
    for n, item in enumerate(items):
        if item.split == "train":
            photos[item.video].append((n, item))
    regions, data = [], []
    for n, (video, captioned) in enumerate(photos.items(), start=1):
        place(video, root / "VG_100K" / f"{n}{video.suffix}")
        box = {"x": 0, "y": 0, "width": 16, "height": 16, "image_id": n}
        phrases = [{"region_id": region, "phrase": item.caption} | box for region, item in captioned]
        regions.append({"id": n, "regions": phrases})
        data.append({"image_id": n, "url": f"http://www.example.com/VG_100K/{n}.jpg", "width": 16, "height": 16})
    write_json(root / "region_descriptions.json", regions)
    write_json(root / "image_data.json", data)
