"""Synthetic clips with classes in the layouts of Kinetics-400, HMDB51 and UCF101. A video is listed once in a split."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from layouts.item import Item, place
from layouts.questions import by_split, write_lines, write_table

FOLDS = (1, 2, 3)


def write_kinetics400(root: Path, items: Sequence[Item]) -> None:
    """The official tables; the clips are in one folder for each split."""
    write_lines(root / "label_map_k400.txt", class_names(items))
    for split, chosen in by_split(items):
        rows = []
        for n, item in once(chosen):
            video = f"made{n:07}"
            place(item.video, root / split / f"{video}_000000_000010{item.video.suffix}")
            times = {"time_start": 0, "time_end": 10}
            rows.append({"label": item.label, "youtube_id": video} | times | {"split": split, "is_cc": 0})
        write_table(root / f"{split}.csv", rows)


def write_hmdb51(root: Path, items: Sequence[Item]) -> None:
    """The official lists, alike in the three folds. There is no `val`: its clips are not used."""
    uses = {"train": 1, "val": 0, "test": 2}
    lists: dict[str, list[str]] = {}
    for split, chosen in by_split(items):
        for n, item in once(chosen):
            name = item.label.replace(" ", "_")
            video = f"made_{n}_{name}_f_cm_np1_fr_goo_0{item.video.suffix}"
            place(item.video, root / "videos" / name / video)
            lists.setdefault(name, []).append(f"{video} {uses[split]} ")
    for name, lines in lists.items():
        for fold in FOLDS:
            write_lines(root / "testTrainMulti_7030_splits" / f"{name}_test_split{fold}.txt", lines)


def write_ucf101(root: Path, items: Sequence[Item]) -> None:
    """The official lists, alike in the three folds. There is no `val`: its clips are left out."""
    folders = {name: "".join(word.capitalize() for word in name.split()) for name in class_names(items)}
    numbers = {name: number for number, name in enumerate(folders, start=1)}
    write_lines(root / "ucfTrainTestlist" / "classInd.txt", (f"{numbers[name]} {folders[name]}" for name in folders))
    for split, chosen in by_split(items):
        lines = []
        for n, item in once(chosen):
            video = f"{folders[item.label]}/v_{folders[item.label]}_g{n:02}_c01{item.video.suffix}"
            place(item.video, root / "UCF-101" / video)
            lines.append(f"{video} {numbers[item.label]}" if split == "train" else video)
        if split != "val":
            for fold in FOLDS:
                write_lines(root / "ucfTrainTestlist" / f"{split}list0{fold}.txt", lines)


def class_names(items: Sequence[Item]) -> list[str]:
    return sorted({item.label for item in items})


def once(numbered: Sequence[tuple[int, Item]]) -> Iterator[tuple[int, Item]]:
    """The first item of each video."""
    seen: set[Path] = set()
    for n, item in numbered:
        if item.video not in seen:
            seen.add(item.video)
            yield n, item
