import json
import zipfile
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from allinone.data.example import HasServer
from allinone.datasets import cc3m, cc12m, coco, flickr8k, flickr30k, nlvr2, sbu, visual_genome, vqav2
from allinone.datasets.files import MissingFile
from layouts import images as layouts
from layouts.item import Item
from real import DATA, needs_data


def write(root: Path, files: dict[str, Any]) -> Path:
    """Texts as they are; anything else as JSON."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return root


# Captions


@needs_data
def test_photos_with_a_table_of_captions_are_read_and_photos_that_are_not_here_stay_in():
    root = DATA / "image_caption" / "flickr8k_subset"
    examples = list(flickr8k.Captions("all").examples(root))
    assert len(examples) == 5000
    assert set(Counter(example.video_id for example in examples).values()) == {5}
    here = {example.video for example in examples if isinstance(example.video, Path) and example.video.is_file()}
    assert len(here) == len(list((root / "Images").iterdir()))


@needs_data
def test_the_real_list_of_entities_chooses_its_photos_from_a_table(tmp_path: Path):
    root = DATA / "annotations" / "flickr30k"
    names = (root / "flickr30k_val_ids.txt").read_text().split()
    (tmp_path / "flickr30k_val_ids.txt").write_bytes((root / "flickr30k_val_ids.txt").read_bytes())
    rows = [f"{name}.jpg#{n}\tcaption {n} of {name}" for name in ["1", *sorted(names)] for n in range(5)]
    write(tmp_path, {"results_20130124.token": "\n".join(rows)})
    examples = list(flickr30k.Captions("entities-val").examples(tmp_path))
    size = flickr30k.Captions("entities-val").published
    assert size is not None
    assert (len(examples), len(names)) == (size.records, size.videos)
    assert list(dict.fromkeys(example.video_id for example in examples)) == names


@needs_data
def test_captions_of_entities_that_are_not_there_are_missed_by_name():
    with pytest.raises(MissingFile, match=r"results_20130124\.token or results\.csv"):
        list(flickr30k.Captions("entities-val").examples(DATA / "annotations" / "flickr30k"))


def karpathy(name: str = "coco") -> dict[str, Any]:
    def image(number: int, split: str) -> dict[str, Any]:
        sentences = [{"raw": f" caption {n} of {number}\n", "sentid": 10 * number + n} for n in range(2)]
        folder = "train2014" if split == "train" else "val2014"
        file = f"COCO_{folder}_{number:012d}.jpg"
        return {"filepath": folder, "filename": file, "split": split, "cocoid": number, "sentences": sentences}

    splits = enumerate(["test", "restval", "train", "val", "restval"], start=1)
    return {"images": [image(number, split) for number, split in splits], "dataset": name}


def test_the_training_photos_of_coco_are_those_of_train_and_restval_in_their_order(tmp_path: Path):
    root = write(tmp_path, {"dataset_coco.json": karpathy()})
    found = {split: [e.text for e in coco.Captions(split).examples(root)] for split in coco.Captions.splits}
    assert found["train"] == [f"caption {n} of {number}" for number in (2, 3, 5) for n in range(2)]
    assert found["val"] == ["caption 0 of 4", "caption 1 of 4"]
    assert found["test"] == ["caption 0 of 1", "caption 1 of 1"]


def test_the_splits_are_read_from_the_archive_they_come_in(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "caption_datasets.zip", "w") as archive:
        archive.writestr("dataset_flickr8k.json", json.dumps({"images": []}))
        archive.writestr("dataset_coco.json", json.dumps(karpathy()))
    assert len(list(coco.Captions("train").examples(tmp_path))) == 6


@pytest.mark.parametrize(
    "name",
    [
        "val2014/COCO_val2014_000000000004.jpg",
        "images/val2014/COCO_val2014_000000000004.jpg",
        "images/COCO_val2014_000000000004.png",
        "train2017/000000000004.jpg",
    ],
)
def test_a_photo_of_coco_is_found_in_the_layouts_in_use(name: str, tmp_path: Path):
    root = write(tmp_path, {"dataset_coco.json": karpathy(), name: "a photo"})
    assert {example.video for example in coco.Captions("val").examples(root)} == {root / name}


def test_the_files_of_albef_are_read_as_karpathys(tmp_path: Path):
    root = write(
        tmp_path,
        {
            "flickr30k_train.json": [
                {"image": "flickr30k-images/1.jpg", "caption": "one", "image_id": "a"},
                {"image": "flickr30k-images/2.jpg", "caption": "two", "image_id": "b"},
                {"image": "flickr30k-images/1.jpg", "caption": "again one", "image_id": "a"},
            ],
            "flickr30k_test.json": [{"image": "flickr30k-images/3.jpg", "caption": ["three", "four"]}],
            "coco_test.json": [{"image": "val2014/COCO_val2014_000000000005.jpg", "caption": ["five"]}],
            "flickr30k-images/1.jpg": "a photo",
        },
    )
    train, test = (list(flickr30k.Captions(split).examples(root)) for split in ("train", "test"))
    assert [(e.id, e.text) for e in train] == [("1#0", "one"), ("1#1", "again one"), ("2#0", "two")]
    assert train[0].video == root / "flickr30k-images" / "1.jpg"
    assert [(e.video_id, e.text) for e in test] == [("3", "three"), ("3", "four")]
    assert [e.text for e in coco.Captions("test").examples(root)] == ["five"]


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("results_20130124.token", "7.jpg#0\tA dog , a cat .\n7.jpg#1\tA | dog\n"),
        ("results.csv", "image_name| comment_number| comment\r\n7.jpg| 0| A dog , a cat .\r\n7.jpg| 1   A | dog\r\n"),
        ("captions.txt", '\ufeffimage,caption\n7.jpg,"A dog , a cat ."\n7.jpg,A | dog\n'),
        ("captions.txt", 'image_name,comment_number,comment\n7.jpg,0,"A dog , a cat ."\n7.jpg,1,A | dog\n'),
    ],
)
def test_tables_of_captions_are_read_in_all_their_forms(name: str, table: str, tmp_path: Path):
    root = write(tmp_path, {name: table, "test.txt": "7\n7.jpg\n"})
    examples = list(flickr30k.Captions("entities-test").examples(root))
    assert [(e.id, e.text) for e in examples] == [("7#0", "A dog , a cat ."), ("7#1", "A | dog")]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"results.csv": "7.jpg#0\tA dog\nA cat\n", "test.txt": "7"}, "line 2: wanted image.jpg#0 and a caption"),
        (
            {"captions.txt": "image,text\n7.jpg,A dog\n", "test.txt": "7"},
            "line 2 has no caption or comment; it has: image, text",
        ),
        ({"results.csv": "7.jpg#0\tA dog\n", "test.txt": "7\n8"}, "no caption of image '8'"),
    ],
)
def test_a_broken_table_of_captions_is_an_error_that_names_the_place(
    files: dict[str, str], message: str, tmp_path: Path
):
    with pytest.raises(ValueError, match=message):
        list(flickr30k.Captions("entities-test").examples(write(tmp_path, files)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "wanted an object with a list 'images'"),
        ({"images": [{"split": "val"}]}, "images, record 1 has no filename, sentences; it has: split"),
        ({"images": ["x"]}, "images, record 1: wanted an object, got 'x'"),
        (
            {"images": [{"split": "val", "filename": "a.jpg", "cocoid": None, "sentences": [{"raw": "x"}]}]},
            "images, record 1, sentences 1 has no sentid",
        ),
    ],
)
def test_a_broken_file_of_splits_is_an_error(content: Any, message: str, tmp_path: Path):
    with pytest.raises(ValueError, match=message):
        list(coco.Captions("val").examples(write(tmp_path, {"dataset_coco.json": content})))


def test_the_lists_of_the_authors_of_flickr8k_are_read(tmp_path: Path):
    names = {"train": "a", "dev": "b", "test": "c"}
    files = {f"Flickr_8k.{part}Images.txt": f"{name}.jpg\r\n" for part, name in names.items()}
    root = write(tmp_path, files | {"Flickr8k.token.txt": "".join(f"{name}.jpg#0\tsays {name}\n" for name in "abcd")})
    found = {split: [e.text for e in flickr8k.Captions(split).examples(root)] for split in flickr8k.Captions.splits}
    assert found == {"train": ["says a"], "val": ["says b"], "test": ["says c"]} | {
        "all": [f"says {n}" for n in "abcd"]
    }


# Questions

QUESTIONS = {"questions": [{"image_id": "9", "question": "How many  cups?", "question_id": 9000}]}
ANNOTATIONS = {
    "annotations": [
        {"question_id": 9000, "multiple_choice_answer": "2", "answer_type": "number", "question_type": "how many"}
        | {"answers": [{"answer": answer, "answer_id": n} for n, answer in enumerate(["2"] * 7 + ["two", "3", "cups"])]}
    ]
}


def test_a_question_of_vqa_has_the_answers_of_ten_people(tmp_path: Path):
    files = {
        "v2_OpenEnded_mscoco_val2014_questions.json": QUESTIONS,
        "v2_mscoco_val2014_annotations.json": ANNOTATIONS,
        "val2014/COCO_val2014_000000000009.jpg": "a photo",
    }
    [example] = vqav2.Questions("val").examples(write(tmp_path, files))
    assert (example.id, example.text, example.answer, example.kind) == ("9000", "How many cups?", "2", "number")
    assert example.human_answers == ("2",) * 7 + ("two", "3", "cups")
    assert example.video == tmp_path / "val2014" / "COCO_val2014_000000000009.jpg"


@pytest.mark.parametrize("split", ["test2015", "test-dev2015"])
def test_questions_of_vqas_tests_have_secret_answers_and_a_file_for_the_server(split: str, tmp_path: Path):
    dataset = vqav2.Questions(split)
    root = write(tmp_path, {f"v2_OpenEnded_mscoco_{split}_questions.json": QUESTIONS})
    [example] = dataset.examples(root)
    assert (example.task, example.answer, example.human_answers) == ("question", "", ())
    assert example.video_id == "COCO_test2015_000000000009"
    assert isinstance(dataset, HasServer)
    name, text = dataset.submission([{"id": example.id, "video_id": "9", "kind": None, "prediction": "two"}])
    assert name == f"v2_OpenEnded_mscoco_{split}_allinone_results.json"
    assert json.loads(text) == [{"question_id": 9000, "answer": "two"}]


@pytest.mark.parametrize(
    ("questions", "annotations", "message"),
    [
        (QUESTIONS, {"annotations": []}, "train2014_annotations.json: there are no records in it"),
        (
            QUESTIONS,
            {"annotations": [ANNOTATIONS["annotations"][0] | {"question_id": 1}]},
            "annotations.json: no annotation of question '9000', which is in .*_questions.json",
        ),
        (QUESTIONS, {"annotations": [{"question_id": 9000}]}, "record 1 has no answers, answer_type"),
        ({"questions": [QUESTIONS["questions"][0] | {"question": None}]}, ANNOTATIONS, "record 1 has no question"),
        ([], ANNOTATIONS, "wanted an object with a list 'questions'"),
    ],
)
def test_questions_and_annotations_of_vqa_that_do_not_match_are_an_error(
    questions: Any, annotations: Any, message: str, tmp_path: Path
):
    files = {
        "v2_OpenEnded_mscoco_train2014_questions.json": questions,
        "v2_mscoco_train2014_annotations.json": annotations,
    }
    with pytest.raises(ValueError, match=message):
        list(vqav2.Questions("train").examples(write(tmp_path, files)))


def pair(**fields: Any) -> str:
    return json.dumps(
        {"identifier": "train-10-2-0", "sentence": "Two dogs.", "label": "True", "directory": 61} | fields
    )


@pytest.mark.parametrize("folder", ["images/train/61", "images/train", "train/61", "train", "photos"])
def test_a_clip_of_nlvr2_is_the_left_and_the_right_photo(folder: str, tmp_path: Path):
    photos = [f"{folder}/train-10-2-img{side}.png" for side in (0, 1)]
    root = write(tmp_path, {"data/train.json": pair() + "\n", photos[0]: "left", photos[1]: "right"})
    [example] = nlvr2.Questions("train").examples(root)
    assert example.video == tuple(root / photo for photo in photos)
    assert (example.id, example.video_id, example.answer) == ("train-10-2-0", "train-10-2", "true")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (pair(label="maybe"), "a label True or False, got 'train-10-2-0' and 'maybe'"),
        (pair(label=1), "a label True or False, got 'train-10-2-0' and 1"),
        (pair(identifier="10-2"), "an identifier like train-10171-2-0"),
        (pair() + "\n" + pair(label="False"), "'train-10-2-0' occurs twice"),
        ('{"identifier": "train-10-2-0"}', "record 1 has no sentence, label"),
        (pair(sentence=None), "record 1 has no sentence"),
        ("{", "line 1: not JSON"),
    ],
)
def test_a_broken_record_of_nlvr2_is_an_error(lines: str, message: str, tmp_path: Path):
    with pytest.raises(ValueError, match=message):
        list(nlvr2.Questions("train").examples(write(tmp_path, {"train.json": lines})))


def test_predictions_of_nlvr2_are_written_for_the_official_scorer():
    predictions = [{"id": f"dev-1-{n}-0", "prediction": answer} for n, answer in enumerate(["true", "false"])]
    assert nlvr2.Questions("dev").submission(predictions) == (
        "dev_predictions.csv",
        "dev-1-0-0,true\ndev-1-1-0,false\n",
    )


# Images of the web


@needs_data
def test_the_validation_table_of_cc3m_that_is_about_lacks_seven_rows():
    examples = list(cc3m.Captions("val").examples(DATA / "annotations" / "cc3m"))
    size = cc3m.Captions("val").published
    assert size is not None
    assert (len(examples), size.records) == (15_833, 15_840)
    assert all(example.text for example in examples)
    assert str(examples[-1].video).endswith("val/00001/000015832.jpg")


SBU = "SBU_captioned_photo_dataset_"
ROWS = [("a bird sits on a branch", "http://www.example.com/bird.jpg"), ("two boats", "https://example.com/4.jpg?w=1")]
CAPTIONS, URLS = map(list, zip(*ROWS, strict=True))
TSV = "".join(f"{caption}\t{url}\n" for caption, url in ROWS)


@pytest.mark.parametrize(
    ("reader", "files"),
    [
        (cc3m.Captions("train"), {"Train_GCC-training.tsv": TSV}),
        (cc3m.Captions("val"), {"Validation_GCC-1.1.0-Validation.tsv": "caption\turl\r\n" + TSV}),
        (cc12m.Captions(), {"cc12m.tsv": "".join(f"{url}\t{caption}\n" for caption, url in ROWS)}),
        (sbu.Captions(), {"sbu-captions-all.json": {"captions": CAPTIONS, "image_urls": URLS}}),
        (sbu.Captions(), {f"{SBU}captions.txt": "\n".join(CAPTIONS), f"{SBU}urls.txt": "\n".join(URLS)}),
    ],
)
def test_tables_of_captions_and_addresses_are_read_whichever_comes_first(reader, files: dict[str, Any], tmp_path: Path):
    examples = list(reader.examples(write(tmp_path, files)))
    assert [example.text for example in examples] == [caption for caption, _ in ROWS]
    assert [Path(str(example.video)).name for example in examples] == ["000000000.jpg", "000000001.jpg"]
    assert len({example.video_id for example in examples}) == 2


@pytest.mark.parametrize(
    ("there", "second"),
    [
        ("images/00000/000000000.jpg", "images/00000/000000001.jpg"),
        ("images/00007/000070012.png", "images/00000/000000001.png"),
        ("images/00007/0000712.webp", "images/00000/0000001.webp"),
        ("00000/000000000.jpg", "00000/000000001.jpg"),
        ("images/0.jpg", "images/1.jpg"),
        ("images/12.jpg", "images/1.jpg"),
        ("images/00000000.jpg", "images/00000001.jpg"),
        ("images/bird.jpg", "images/boats.jpg"),
    ],
)
def test_images_are_found_by_the_number_of_their_row_as_the_first_image_is_named(
    there: str, second: str, tmp_path: Path
):
    rows = [*ROWS[:1], ("two boats", "https://example.com/photos/boats.jpg")]
    files = {"cc12m.tsv": "".join(f"{url}\t{caption}\n" for caption, url in rows), there: "an image"}
    examples = list(cc12m.Captions().examples(write(tmp_path, files)))
    assert examples[1].video == tmp_path / second


def test_rows_without_a_caption_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    root = write(tmp_path, {"cc12m.tsv": "http://example.com/0.jpg\t \n \nhttp://example.com/1.jpg\ta boat\n"})
    assert [example.id for example in cc12m.Captions().examples(root)] == ["000000001"]
    assert "left out 1 records without a text" in caplog.text


def test_rows_of_a_shard_go_on_in_the_next(tmp_path: Path):
    rows = "".join(f"http://example.com/{n}.jpg\tcaption {n}\n" for n in range(25))
    root = write(tmp_path, {"cc12m.tsv": rows, "images/00001/000013.jpg": "an image"})
    examples = list(cc12m.Captions().examples(root))
    assert [Path(str(examples[n].video)).relative_to(root / "images").as_posix() for n in (9, 10, 24)] == [
        "00000/000009.jpg",
        "00001/000010.jpg",
        "00002/000024.jpg",
    ]
    assert examples[13].video == root / "images/00001/000013.jpg"


def test_images_of_another_table_are_an_error(tmp_path: Path):
    files = {"cc12m.tsv": "".join(f"{url}\t{caption}\n" for caption, url in ROWS)}
    files |= {"images/00000/000000001.jpg": "an image"}
    info = "images/00000/000000001.json"
    root = write(tmp_path, files | {info: json.dumps({"url": ROWS[1][1]})})
    assert len(list(cc12m.Captions().examples(root))) == 2
    write(tmp_path, {info: json.dumps({"url": ROWS[0][1]})})
    with pytest.raises(ValueError, match=r"downloaded from http://www\.example\.com/bird\.jpg, but row 1"):
        list(cc12m.Captions().examples(root))


def test_without_a_table_the_captions_next_to_the_images_are_read(tmp_path: Path):
    files = {f"images/0000{shard}/0000{shard}0007.{ending}": "a  boat" for shard in (0, 1) for ending in ("jpg", "txt")}
    root = write(tmp_path, files)
    assert [(e.id, e.text) for e in cc12m.Captions().examples(root)] == [
        ("000000007", "a boat"),
        ("000010007", "a boat"),
    ]
    (root / "images/00001/000010007.txt").unlink()
    with pytest.raises(ValueError, match=r"no 000010007\.txt with its caption beside it"):
        list(cc12m.Captions().examples(root))


def test_with_neither_table_nor_images_the_table_is_missed_by_name(tmp_path: Path):
    for reader, name in ((cc3m.Captions(), "Train_GCC-training.tsv"), (sbu.Captions(), "sbu-captions-all.json")):
        with pytest.raises(MissingFile, match=name):
            list(reader.examples(tmp_path))


@pytest.mark.parametrize(
    "line", ["a caption alone", "http://example.com/1.jpg\ta caption\tmore", "a caption\tno address"]
)
def test_a_broken_row_is_an_error_that_names_its_line_and_rows_before_it_are_read(line: str, tmp_path: Path):
    root = write(tmp_path, {"cc12m.tsv": f"http://example.com/0.jpg\ta boat\n{line}\n"})
    examples = iter(cc12m.Captions().examples(root))
    assert next(examples).text == "a boat"
    with pytest.raises(ValueError, match="line 2: wanted a caption and an address"):
        next(examples)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"sbu-captions-all.json": {"captions": ["a", "b"], "image_urls": ["u"]}}, "2 captions, but 1 addresses"),
        ({"sbu-captions-all.json": {"captions": ["a"], "image_urls": None}}, "has no image_urls; it has: captions"),
        ({"sbu-captions-all.json": ["a"]}, r"wanted an object, got \['a'\]"),
        (
            {"SBU_captioned_photo_dataset_urls.txt": "http://a\nhttp://b\n", "captions.txt": "a\n"},
            "captions.txt: ends before line 2, where .*urls.txt goes on",
        ),
    ],
)
def test_photos_of_sbu_without_a_caption_are_an_error(files: dict[str, Any], message: str, tmp_path: Path):
    with pytest.raises(ValueError, match=message):
        list(sbu.Captions().examples(write(tmp_path, files)))


def test_phrases_of_visual_genome_are_read_photo_by_photo_and_found_in_either_folder(tmp_path: Path):
    photos = [
        {"id": n, "regions": [{"region_id": 10 * n + i, "phrase": f"thing {i} of {n} "} for i in range(2)]}
        for n in range(1, 4)
    ]
    root = write(
        tmp_path,
        {
            "region_descriptions.json": photos,
            "image_data.json": [{"image_id": 3, "url": "https://example.com/VG_100K/3.jpg"}],
            "VG_100K/1.jpg": "a photo",
            "images/VG_100K_2/2.jpg": "a photo",
        },
    )
    examples = list(visual_genome.Captions().examples(root))
    assert [(e.id, e.text) for e in islice(examples, 3)] == [
        ("10", "thing 0 of 1"), ("11", "thing 1 of 1"), ("20", "thing 0 of 2"),
    ]  # fmt: skip
    videos = dict.fromkeys(Path(str(example.video)).relative_to(root).as_posix() for example in examples)
    assert list(videos) == ["VG_100K/1.jpg", "images/VG_100K_2/2.jpg", "images/VG_100K/3.jpg"]


def test_a_region_without_a_phrase_is_an_error(tmp_path: Path):
    root = write(tmp_path, {"region_descriptions.json": [{"id": 4, "regions": [{"region_id": 1}]}]})
    with pytest.raises(ValueError, match="record 1, regions 1 has no phrase; it has: region_id"):
        list(visual_genome.Captions().examples(root))


# Layouts


def items(root: Path, ending: str) -> list[Item]:
    """Two images in each split, the first with two records."""
    found = []
    for number, split in enumerate(["train", "train", "train", "val", "val", "val", "test", "test", "test"]):
        video = root / f"{split}{number % 3 // 2}{ending}"
        video.write_text(video.stem)
        answer = ["yes", "no", "yes"][number % 3]
        caption, question = f"caption {number}", f"question {number}"
        found.append(Item(video=video, split=split, caption=caption, question=question, answer=answer))
    return found


@pytest.mark.parametrize("ending", [".jpg", ".png", ".mp4"])
@pytest.mark.parametrize(
    ("write_layout", "reader", "splits"),
    [
        (layouts.write_coco, coco.Captions, {"train": "train", "val": "val", "test": "test"}),
        (layouts.write_flickr30k, flickr30k.Captions, {"train": "train", "val": "val", "test": "test"}),
        (layouts.write_vqav2, vqav2.Questions, {"train": "train", "val": "val", "test": "test2015"}),
        (layouts.write_nlvr2, nlvr2.Questions, {"train": "train", "val": "dev", "test": "test1"}),
        (layouts.write_cc3m, cc3m.Captions, {"train": "train", "val": "val"}),
        (layouts.write_cc12m, cc12m.Captions, {"train": "train"}),
        (layouts.write_sbu, sbu.Captions, {"train": "train"}),
        (layouts.write_visual_genome, visual_genome.Captions, {"train": "train"}),
    ],
)
def test_what_is_written_in_a_layout_is_read_back(
    write_layout, reader, splits: dict[str, str], ending: str, tmp_path: Path
):
    made = items(tmp_path, ending)
    root = tmp_path / "data"
    write_layout(root, made)
    for split, official in splits.items():
        examples = list(reader(official).examples(root))
        chosen = [item for item in made if item.split == split]
        is_question = reader in (vqav2.Questions, nlvr2.Questions)
        assert [e.text for e in examples] == [i.question if is_question else i.caption for i in chosen]
        assert [{file.read_text() for file in e.files} for e in examples] == [{i.video.stem} for i in chosen]
        if is_question:
            said = {"yes": "true", "no": "false"} if reader is nlvr2.Questions else {"yes": "yes", "no": "no"}
            secret = official == "test2015"
            assert [e.answer for e in examples] == ["" if secret else said[item.answer] for item in chosen]
