"""Synthetic questions in the layouts of MSRVTT-QA, MSVD-QA, ActivityNet-QA, TGIF-QA, TVQA, NExT-QA and VCR."""

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from layouts.item import Item, place

SPLITS = ("train", "val", "test")
ACTIVITYNET_KINDS = ("motion", "spatial", "temporal", "yes/no", "color", "object", "location", "number", "other")
FRAME_KINDS = ("object", "number", "color", "location")


def write_msrvtt_qa(root: Path, items: Sequence[Item]) -> None:
    names = placed(items, lambda n: f"video{n}", root / "videos")
    for split, chosen in by_split(items):
        rows = [
            {"answer": item.answer, "category_id": 0, "id": n, "question": item.question}
            | {"video_id": int(names[item.video].removeprefix("video"))}
            for n, item in chosen
        ]
        write_json(root / f"{split}_qa.json", rows)


def write_msvd_qa(root: Path, items: Sequence[Item]) -> None:
    """The videos have the names of their clips, which are in `youtube_mapping.txt`."""
    names = placed(items, lambda n: f"made{n:07}_0_{n}", root / "YouTubeClips")
    numbers = {name: n for n, name in enumerate(names.values(), start=1)}
    write_lines(root / "youtube_mapping.txt", (f"{name} vid{n}" for name, n in numbers.items()))
    for split, chosen in by_split(items):
        rows = [
            {"answer": item.answer, "id": n, "question": item.question, "video_id": numbers[names[item.video]]}
            for n, item in chosen
        ]
        write_json(root / f"{split}_qa.json", rows)


def write_activitynet_qa(root: Path, items: Sequence[Item]) -> None:
    """An unofficial kind becomes `other`."""
    names = placed(items, lambda n: f"v_made{n:07}", root / "videos")
    for split, chosen in by_split(items):
        questions, answers = [], []
        for n, item in chosen:
            video = names[item.video]
            questions.append(
                {"video_name": video.removeprefix("v_"), "question": item.question, "question_id": f"{video}_{n}"}
            )
            kind = number_of(item.kind, ACTIVITYNET_KINDS, "other")
            answers.append({"answer": item.answer, "type": kind, "question_id": f"{video}_{n}"})
        write_json(root / f"{split}_q.json", questions)
        write_json(root / f"{split}_a.json", answers)


def write_tgif_qa(root: Path, items: Sequence[Item]) -> None:
    """Five options make an Action question, or a Transition one where the kind says `transition`; an answer makes a
    FrameQA one; neither makes a Count. There is no `val`: its items are test items."""
    gifs = placed(items, lambda n: f"tumblr_made{n:07}_250", root / "gifs")
    tables: dict[str, list[dict[str, object]]] = {}
    for n, item in enumerate(items):
        row: dict[str, object] = {"gif_name": gifs[item.video], "question": item.question}
        if item.options:
            task = "transition" if item.kind == "transition" else "action"
            row |= options_of(item, "a", first=1) | {"answer": item.right}
        elif item.answer:
            task, kind = "frameqa", number_of(item.kind, FRAME_KINDS, "object")
            row |= {"answer": item.answer, "type": kind}
        else:
            task = "count"
            row |= {"answer": item.number}
        row |= {"vid_id": f"{task.upper()}{n}", "key": n}
        split = "Train" if item.split == "train" else "Test"
        tables.setdefault(f"{split}_{task}_question.csv", []).append(row)
    for name, rows in tables.items():
        write_table(root / name, rows, delimiter="\t")


def write_nextqa(root: Path, items: Sequence[Item]) -> None:
    """Kinds are those of the reader: causal, temporal and descriptive; another becomes descriptive."""
    codes = {"causal": "CW", "temporal": "TN"}
    names = placed(items, lambda n: f"{3_000_000_000 + n}", root / "NExTVideo" / "0001")
    write_json(root / "map_vid_vidorID.json", {name: f"0001/{name}" for name in names.values()})
    for split, chosen in by_split(items):
        rows = [
            {"video": names[item.video], "frame_count": 100, "width": 64, "height": 64, "question": item.question}
            | {"answer": item.right, "qid": n, "type": codes.get(item.kind, "DO")}
            | options_of(item, "a")
            for n, item in chosen
        ]
        write_table(root / f"{split}.csv", rows)


def write_tvqa(root: Path, items: Sequence[Item]) -> None:
    """The caption of an item is the subtitle of its span; the kind is the show. Test answers are left out."""
    names = placed(items, lambda n: f"s01e01_seg01_clip_{n:02}", root / "videos")
    subtitles: dict[str, list[dict[str, object]]] = {name: [] for name in names.values()}
    for split, chosen in by_split(items):
        rows = []
        for n, item in chosen:
            end = item.end_sec or 600.0
            row = {"q": item.question, "qid": n, "show_name": item.kind or "The Big Bang Theory"}
            row |= {"ts": f"{item.start_sec}-{end}", "vid_name": names[item.video]} | options_of(item, "a")
            rows.append(row if split == "test" else row | {"answer_idx": item.right})
            if item.caption:
                said = {"text": item.caption, "start": item.start_sec, "end": end}
                subtitles[names[item.video]].append(said)
        write_lines(root / f"tvqa_{'test_public' if split == 'test' else split}.jsonl", map(json.dumps, rows))
    records = ({"vid_name": name, "sub": said} for name, said in subtitles.items())
    write_lines(root / "tvqa_preprocessed_subtitles.jsonl", map(json.dumps, records))


def write_vcr(root: Path, items: Sequence[Item]) -> None:
    """Four options are the answers. The right rationale is the item's caption, wrong ones are those of others.

    An object with the question's first word as its class makes the text the same, and tints a corner. Test answers are
    left out.
    """
    names = placed(items, lambda n: f"made/{n:05}@0", root / "vcr1images")
    captions = list(dict.fromkeys(item.caption for item in items))
    if len(captions) < 4:
        raise ValueError(f"four rationales are four captions, but there are only {captions}")
    corner = {"boxes": [[0, 0, 6, 6, 1.0]], "segms": [[[[0, 0], [6, 0], [6, 6], [0, 6]]]], "width": 64, "height": 64}
    for name in names.values():
        write_json(root / "vcr1images" / f"{name}.json", corner)
    for split, chosen in by_split(items):
        rows = []
        for n, item in chosen:
            first, *words = item.question.split()
            turn, right = n % len(captions), n % 4
            others = [caption for caption in captions[turn:] + captions[:turn] if caption != item.caption][:3]
            rationales = [*others[:right], item.caption, *others[right:]]
            row = {
                "objects": [first],
                "img_fn": f"{names[item.video]}{item.video.suffix}",
                "metadata_fn": f"{names[item.video]}.json",
                "question": [[0], *words],
                "answer_choices": [option.split() for option in item.options],
                "rationale_choices": [rationale.split() for rationale in rationales],
                "annot_id": f"{split}-{n}",
            }
            labels = {} if split == "test" else {"answer_label": item.right, "rationale_label": right}
            rows.append(row | labels)
        write_lines(root / f"{split}.jsonl", map(json.dumps, rows))


def placed(items: Sequence[Item], name: Callable[[int], str], folder: Path) -> dict[Path, str]:
    """Put every video once into the folder, named by its number; return the name of each."""
    names = {video: name(n) for n, video in enumerate(dict.fromkeys(item.video for item in items))}
    for video, called in names.items():
        place(video, folder / f"{called}{video.suffix}")
    return names


def by_split(items: Sequence[Item]) -> Iterable[tuple[str, list[tuple[int, Item]]]]:
    """Yield the items of each split that has some, with their indices among all."""
    for split in SPLITS:
        if chosen := [(n, item) for n, item in enumerate(items) if item.split == split]:
            yield split, chosen


def options_of(item: Item, letter: str, first: int = 0) -> dict[str, object]:
    return {f"{letter}{n}": option for n, option in enumerate(item.options, start=first)}


def number_of(kind: str, kinds: Sequence[str], default: str) -> int:
    return kinds.index(kind if kind in kinds else default)


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_lines(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def write_table(path: Path, rows: Sequence[Mapping[str, object]], delimiter: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        table.writeheader()
        table.writerows(rows)
