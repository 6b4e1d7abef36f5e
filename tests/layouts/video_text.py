"""Synthetic captions in the layouts of data sets of videos and texts: for retrieval, for choices, for pre-training.

An item without `end_sec` is about the first ten seconds in a layout with spans.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from layouts.item import Item, place
from layouts.questions import by_split, placed, write_json, write_lines, write_table

WHOLE_SEC = 10.0


def write_msrvtt(root: Path, items: Sequence[Item]) -> None:
    """`train` and `val` make up train7k and train9k. The first caption of a `test` video is its own in 1kA.

    Items of `test` with options are choices, too; others do not exist.
    """
    firsts = {"train": 0, "val": 6513, "test": 7010}
    sentences, listed = [], []
    for split, chosen in by_split(items):
        first = firsts[split]
        names = placed([item for _, item in chosen], lambda n, first=first: f"video{first + n}", root / "videos")
        own: dict[str, str] = {}
        for n, item in chosen:
            if item.caption:
                sentences.append({"caption": item.caption, "video_id": names[item.video], "sen_id": n})
                own.setdefault(names[item.video], item.caption)
        if split != "test":
            listed += names.values()
            continue
        if own:
            pairs = [{"key": f"ret{n}", "video_id": video, "sentence": own[video]} for n, video in enumerate(own)]
            write_table(root / "MSRVTT_JSFUSION_test.csv", pairs)
        if choices := [
            {"qid": n, "clip_name": names[item.video], "answer": item.right, "options": item.options}
            for n, item in chosen
            if item.options
        ]:
            write_lines(root / "msrvtt_mc_test.jsonl", map(json.dumps, choices))
    write_json(root / "MSRVTT_data.json", {"info": {}, "videos": [], "sentences": sentences})
    for name in ("MSRVTT_train.9k.csv", "MSRVTT_train.7k.csv"):
        write_lines(root / name, ["video_id", *listed])


def write_msvd(root: Path, items: Sequence[Item]) -> None:
    names = placed(items, lambda n: f"made{n:07}_0_{n + 1}", root / "YouTubeClips")
    captions: dict[str, list[str]] = defaultdict(list)
    for split, chosen in by_split(items):
        write_lines(root / f"{split}_list.txt", dict.fromkeys(names[item.video] for _, item in chosen))
        for _, item in chosen:
            captions[names[item.video]].append(item.caption)
    write_json(root / "captions_msvd.json", captions)


def write_didemo(root: Path, items: Sequence[Item]) -> None:
    """A moment is the segment of five seconds in which the item begins."""
    names = placed(items, lambda n: f"{n:08}@N00_{n}_made", root / "videos")
    for split, chosen in by_split(items):
        records = []
        for n, item in chosen:
            segment = int(item.start_sec // 5)
            record = {"annotation_id": n, "description": item.caption, "times": [[segment, segment]] * 4}
            records.append(record | {"video": f"{names[item.video]}{item.video.suffix}", "num_segments": 6})
        write_json(root / f"{split}_data.json", records)
        write_lines(root / f"{split}_list.txt", dict.fromkeys(record["video"] for record in records))


def write_activitynet(root: Path, items: Sequence[Item]) -> None:
    """`test` becomes val_1, on which papers score, and `val` becomes val_2."""
    names = placed(items, lambda n: f"v_made{n:07}", root / "videos")
    files = {"train": "train.json", "val": "val_2.json", "test": "val_1.json"}
    for split, chosen in by_split(items):
        by_video: dict[str, list[Item]] = defaultdict(list)
        for _, item in chosen:
            by_video[names[item.video]].append(item)
        records = {
            video: {
                "duration": max(map(end_of, sentences)),
                "timestamps": [[item.start_sec, end_of(item)] for item in sentences],
                "sentences": [item.caption for item in sentences],
            }
            for video, sentences in by_video.items()
        }
        write_json(root / files[split], records)


def write_lsmdc(root: Path, items: Sequence[Item]) -> None:
    """Items with options are choices, too; in `train` and `val` the right one comes first, as it does there."""
    movie = "0001_Made"
    names = placed(items, lambda n: f"{movie}_00.00.{n // 1000:02}.{n % 1000:03}-00.01.00.000", root / "videos" / movie)
    captions = {"train": "annos_training", "val": "annos_val", "test": "challenge_1000_publictect"}
    choices = {"train": "train", "val": "valid", "test": "test_randomized"}
    for split, chosen in by_split(items):
        captioned, asked = [], []
        for _, item in chosen:
            clip = [names[item.video], *["00.00.00.000", "00.01.00.000"] * 2]
            if item.caption:
                captioned.append("\t".join([*clip, item.caption]))
            if item.options and split == "test":
                asked.append("\t".join([*clip, *item.options, str(item.right + 1)]))
            elif item.options:
                others = [option for n, option in enumerate(item.options) if n != item.right]
                asked.append("\t".join([*clip, item.options[item.right], *others]))
        if captioned:
            write_lines(root / f"LSMDC16_{captions[split]}.csv", captioned)
        if asked:
            write_lines(root / f"LSMDC16_multiple_choice_{choices[split]}.csv", asked)


def write_youcook2(root: Path, items: Sequence[Item]) -> None:
    """`val` and `test` are both the validation part: those of the test videos are secret."""
    names = placed(items, lambda n: f"made{n:07}", root / "raw_videos" / "made" / "101")
    database: dict[str, dict] = {}
    for item in items:
        subset = "training" if item.split == "train" else "validation"
        record = database.setdefault(names[item.video], {"subset": subset, "recipe_type": "101", "annotations": []})
        steps = record["annotations"]
        steps.append({"id": len(steps), "segment": [item.start_sec, end_of(item)], "sentence": item.caption})
    write_json(root / "youcookii_annotations_trainval.json", {"database": database})


def write_egoclip(root: Path, items: Sequence[Item]) -> None:
    """`train` is EgoClip. Items of `val` and `test` are EgoMCQ; the other clips are those of the next items there."""
    names = placed(items, lambda n: f"{n:08x}-made", root / "videos")
    kinds = {"inter": 1, "intra": 2}
    rows = [
        {"clip_idx": n, "video_uid": names[item.video], "clip_start": item.start_sec, "clip_end": end_of(item)}
        | {"clip_text": item.caption, "tag_verb": "[0]", "tag_noun": "[0]"}
        for n, item in enumerate(items)
    ]
    train = [row for row, item in zip(rows, items, strict=True) if item.split == "train"]
    if train:
        write_table(root / "egoclip.csv", train, delimiter="\t")
    asked = [n for n, item in enumerate(items) if item.split != "train"]
    questions = {}
    for number, n in enumerate(asked):
        turned = [other for other in asked[number + 1 :] + asked[:number] if items[other].caption != items[n].caption]
        others = list({items[other].video: rows[other] for other in turned}.values())
        if len(others) < 4:
            raise ValueError(f"a choice needs five clips with other captions; val and test have {len(others) + 1}")
        clips = [*others[: items[n].right], rows[n], *others[items[n].right : 4]]
        questions[str(number)] = {
            "answer": items[n].right,
            "types": kinds.get(items[n].kind, 1),
            "query": rows[n],
            "choices": {str(place): clip for place, clip in enumerate(clips)},
        }
    if questions:
        write_json(root / "egomcq.json", questions)


def write_webvid(root: Path, items: Sequence[Item]) -> None:
    """`val` and `test` are both the validation part. One caption a video: of several the first is taken."""
    for part in ("train", "val"):
        firsts: dict[Path, Item] = {}
        for item in items:
            if (item.split == "train") == (part == "train"):
                firsts.setdefault(item.video, item)
        rows = []
        for n, item in enumerate(firsts.values()):
            video, folder = 10_000_000 + n + (5_000_000 if part == "val" else 0), f"{n // 50:06}_{n // 50 + 50:06}"
            place(item.video, root / "videos" / folder / f"{video}{item.video.suffix}")
            row = {"videoid": video, "name": item.caption, "page_idx": 1, "page_dir": folder}
            rows.append(row | {"duration": "PT00H00M10S", "contentUrl": f"https://www.example.com/{video}.mp4"})
        if rows:
            write_table(root / f"results_2M_{part}.csv", rows)


def write_howto100m(root: Path, items: Sequence[Item]) -> None:
    """There is only `train`; other items are left out, here and below."""
    train = [item for item in items if item.split == "train"]
    names = placed(train, lambda n: f"made{n:07}", root / "videos")
    captions: dict[str, dict[str, list]] = {name: {"start": [], "end": [], "text": []} for name in names.values()}
    for item in sorted(train, key=lambda item: item.start_sec):
        said = captions[names[item.video]]
        for key, value in (("start", item.start_sec), ("end", end_of(item)), ("text", item.caption)):
            said[key].append(value)
    write_json(root / "caption.json", captions)
    rows = [{"video_id": name, "task_id": 1, "rank": 1, "category_1": "Made"} for name in captions]
    write_table(root / "HowTo100M_v1.csv", rows)


def write_yt_temporal(root: Path, items: Sequence[Item]) -> None:
    """The words of a caption are said one after another, evenly, within its span."""
    train = sorted((item for item in items if item.split == "train"), key=lambda item: item.start_sec)
    names = placed(train, lambda n: f"made{n:07}", root / "videos")
    for video, name in names.items():
        spoken = [item for item in train if item.video == video]
        subtitles = []
        for item in spoken:
            words = item.caption.split()
            step = (end_of(item) - item.start_sec) / len(words)
            subtitles += [{"word": word.lower(), "time": item.start_sec + n * step} for n, word in enumerate(words)]
        denoised = [{"noisyasr": item.caption.lower(), "cleanasr": item.caption} for item in spoken]
        record = {"denoised": denoised, "info": {"id": name, "duration": 10}, "subtitles": subtitles}
        write_json(root / "annotations" / f"{name}.grover.json", record)


def write_hollywood2(root: Path, items: Sequence[Item]) -> None:
    """A table for each split, to be read as a user's own captions; its paths do not exist, as in the original."""
    names = placed(items, lambda n: f"actionclipmade{n:05}", root / "test_clips")
    for split, chosen in by_split(items):
        rows = [
            {"video_name": names[item.video], "sentence": item.caption}
            | {"path": f"./data/hollywood2/test_clips/{names[item.video]}.avi"}
            for _, item in chosen
        ]
        write_table(root / f"{split}_original.csv", rows)


def end_of(item: Item) -> float:
    return item.end_sec or item.start_sec + WHOLE_SEC
