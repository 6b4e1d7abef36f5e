"""Every reader with each of its fields replaced by wrong values, and with files cut short."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from allinone.data.example import Dataset, Example
from allinone.datasets import (
    activitynet,
    activitynet_qa,
    coco,
    didemo,
    egoclip,
    flickr30k,
    howto100m,
    kinetics400,
    msrvtt,
    msrvtt_qa,
    msvd,
    nextqa,
    nlvr2,
    sbu,
    tgif_qa,
    tvqa,
    tvqa_plus,
    vcr,
    visual_genome,
    vqav2,
    webvid,
    youcook2,
    yt_temporal,
)

OPTIONS = {f"a{n}": f"option {n}" for n in range(5)}
DENSE = {"duration": 9.0, "timestamps": [[0, 4.5], [4, 9]], "sentences": ["he runs", "he stops"]}
SPAN = {"video_uid": "u", "clip_start": 1.5, "clip_end": 2.5}
PHOTO = {"filepath": "val2014", "filename": "a.jpg", "split": "val", "cocoid": 3}
PHOTO["sentences"] = [{"raw": "a dog", "sentid": 7}]
STILL = {
    "annot_id": "val-0", "img_fn": "m/a.jpg", "metadata_fn": "m/a.json", "objects": ["person", "car"],
    "question": ["why", [0], "?"], "answer_choices": [["x"], ["y"], ["z"], [[1]]],
    "rationale_choices": [["r"], ["s"], ["t"], ["u"]], "answer_label": 0, "rationale_label": 1,
}  # fmt: skip
HEARD = {
    "info": {"id": "v"}, "subtitles": [{"word": "hello", "time": 0.5}],
    "denoised": [{"cleanasr": "Hello.", "noisyasr": "hello"}],
}  # fmt: skip
MULTI = {"video": "video7010.mp4", "caption": ["a", "b", "c", "d", "e"], "answer": 1}

CASES: dict[str, tuple[Dataset, dict[str, Any]]] = {
    "msrvtt": (
        msrvtt.Captions("full-train"),
        {"MSRVTT_data.json": {"sentences": [{"sen_id": 1, "video_id": "video0", "caption": "a cat"}]}},
    ),
    "msrvtt list": (msrvtt.Captions("train9k"), {"msrvtt_ret_train9k.json": [{"video": "v0.mp4", "caption": "a cat"}]}),
    "msrvtt choices": (msrvtt.Choices(), {"msrvtt_mc_test.json": [MULTI]}),
    "msvd": (msvd.Captions("val"), {"captions_msvd.json": {"a": ["x", "y"]}, "val_list.txt": "a\n"}),
    "msvd labels": (msvd.Captions("label-train"), {"training_label.json": [{"id": "a.avi", "caption": ["x", "y"]}]}),
    "activitynet": (activitynet.Captions("val_1"), {"val_1.json": {"v_a": DENSE}}),
    "didemo": (
        didemo.Captions("val"),
        {
            "val_data.json": [{"annotation_id": 1, "video": "a.mov", "description": "x", "times": [[0, 1], [0, 0]]}],
            "val_list.txt": "a.mov\n",
        },
    ),
    "youcook2": (
        youcook2.Captions("train"),
        {
            "yc2_annotations_trainval.json": {
                "database": {
                    "a": {"subset": "training", "annotations": [{"id": 0, "segment": [1, 2], "sentence": "stir"}]}
                }
            }
        },
    ),
    "youcook2 dense": (youcook2.Captions("val"), {"val_yc2.json": {"a": DENSE}}),
    "howto100m": (howto100m.Captions(), {"caption.json": {"a": {"start": [0.5], "end": [2], "text": ["turn key"]}}}),
    "egomcq": (
        egoclip.Choices(),
        {
            "egomcq.json": {
                "0": {"answer": 1, "types": 1, "query": {"clip_text": "#C C turns"}, "choices": {"0": SPAN, "1": SPAN}}
            }
        },
    ),
    "yt_temporal": (yt_temporal.Captions(), {"a.grover.json": HEARD}),
    "msrvtt_qa": (
        msrvtt_qa.Questions("val"),
        {"val_qa.json": [{"id": 1, "video_id": 7, "question": "who runs?", "answer": "man"}]},
    ),
    "activitynet_qa": (
        activitynet_qa.Questions("val"),
        {
            "val_q.json": [{"question_id": "q1", "video_name": "a", "question": "is it red"}],
            "val_a.json": [{"question_id": "q1", "answer": "no", "type": 3}],
        },
    ),
    "tgif action": (
        tgif_qa.Actions("train"),
        {"action_train.jsonl": [{"gif_name": "g", "question": "what is done 2 times", "answer": 1} | OPTIONS]},
    ),
    "tgif count": (
        tgif_qa.Counts("test"),
        {"count_test.jsonl": [{"gif_name": "g", "question": "how many times", "answer": 2}]},
    ),
    "tvqa": (
        tvqa.Choices("val", subtitles=True),
        {
            "tvqa_val.jsonl": [
                {"q": "why?", "qid": 7, "ts": "1-2", "vid_name": "c", "answer_idx": 0, "show_name": "s"} | OPTIONS
            ],
            "tv_subtitles.jsonl": [{"vid_name": "c", "sub": [{"start": 1, "end": 2, "text": "hi"}]}],
        },
    ),
    "tvqa_plus": (
        tvqa_plus.Choices("val"),
        {"tvqa_plus_val.json": [{"q": "w?", "qid": 7, "ts": [1.5, 2], "vid_name": "c", "answer_idx": "0"} | OPTIONS]},
    ),
    "vcr": (vcr.Rationales("val"), {"val.jsonl": [STILL]}),
    "vqav2": (
        vqav2.Questions("val"),
        {
            "v2_OpenEnded_mscoco_val2014_questions.json": {
                "questions": [{"question_id": 9, "image_id": 3, "question": "is it?"}]
            },
            "v2_mscoco_val2014_annotations.json": {
                "annotations": [
                    {
                        "question_id": 9, "answers": [{"answer": "yes"}], "answer_type": "yes/no",
                        "multiple_choice_answer": "yes",
                    }
                ]
            },
        },
    ),
    "nlvr2": (
        nlvr2.Questions("dev"),
        {"dev.json": [{"identifier": "dev-1-2-0", "sentence": "two dogs", "label": "True", "directory": 3}]},
    ),
    "coco": (coco.Captions("val"), {"dataset_coco.json": {"images": [PHOTO]}}),
    "flickr30k": (flickr30k.Captions("val"), {"flickr30k_val.json": [{"image": "i/1.jpg", "caption": ["a", "b"]}]}),
    "sbu": (sbu.Captions(), {"sbu-captions-all.json": {"captions": ["a dog"], "image_urls": ["http://a/b.jpg"]}}),
    "visual_genome": (
        visual_genome.Captions(),
        {
            "region_descriptions.json": [{"id": 1, "regions": [{"region_id": 5, "phrase": "a clock"}]}],
            "image_data.json": [{"image_id": 1, "url": "http://a/VG_100K/1.jpg"}],
        },
    ),
    "nextqa map": (
        nextqa.Choices("val"),
        {
            "map_vid_vidorID.json": {"v": "0101/v"},
            "val.csv": f"video,question,qid,type,answer,{','.join(OPTIONS)}\nv,why,1,CW,2,a,b,c,d,e\n",
        },
    ),
    "kinetics400": (
        kinetics400.Labels("val"),
        {"val.csv": "label,youtube_id,time_start,time_end,split\nair drumming,abc,1,11,val\n"},
    ),
    "webvid": (webvid.Captions("val2M"), {"results_2M_val.csv": "videoid,name,contenturl\n1,a horse,http://a\n"}),
}  # fmt: skip
WRONG = (None, 12345, float("inf"), True, [], [[1]], {"x": 1}, "", "\ud800", "1" * 5000)
OPTIONAL = {"filepath", "cocoid", "directory", "show_name", "type", "cleanasr", "v", "id"}
"""Fields that a record may lack, by their names."""

EMPTY = {"subtitles", "denoised", "regions", "sub"}
"""Lists that may be empty; the reader warns of them."""

TOKENS = {"question", "answer_choices", "rationale_choices"}
"""Texts of VCR, which are lists of words and of lists of numbers."""


def write(root: Path, files: dict[str, Any]) -> Path:
    for name, content in files.items():
        if isinstance(content, str):
            text = content
        else:
            text = "\n".join(map(json.dumps, content)) if name.endswith("jsonl") else json.dumps(content)
        (root / name).write_text(text)
    return root


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the keys and indices that lead to every value inside a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inside in inner:
        yield (*above, name)
        yield from places(inside, (*above, name))


def replaced(content: Any, place: tuple[Any, ...], by: Any) -> Any:
    content = copy.deepcopy(content)
    inside = content
    for name in place[:-1]:
        inside = inside[name]
    inside[place[-1]] = by
    return content


def is_well_typed(example: Example) -> bool:
    texts = (example.text, example.video_id, *example.options, *example.human_answers)
    optional = (example.id, example.answer, example.label, example.kind)
    return all(isinstance(text, str) for text in texts) and all(t is None or isinstance(t, str) for t in optional)


def read(dataset: Dataset, root: Path) -> tuple[list[Example], str]:
    """Return the examples, or the error."""
    try:
        return list(dataset.examples(root)), ""
    except ValueError as error:
        return [], str(error)


@pytest.mark.parametrize("case", CASES)
def test_a_field_of_another_type_is_an_error_that_names_file_and_record(case: str, tmp_path: Path):
    dataset, files = CASES[case]
    whole = list(dataset.examples(write(tmp_path, files)))
    assert whole
    for name, content in files.items():
        for place in () if isinstance(content, str) else places(content):
            if place[-1] in ("a1", "a2", "a3"):  # as a0 and a4
                continue
            for wrong in WRONG:
                write(tmp_path, {name: replaced(content, place, wrong)})
                examples, error = read(dataset, tmp_path)
                if error:
                    assert any(file in error for file in files) or "no subtitles" in error, (place, wrong, error)
                    assert len(error) < 1000 + 3 * len(str(tmp_path))
                    is_field = isinstance(place[-1], str) and any(isinstance(name, int) for name in place)
                    named = (
                        "record ",
                        f"{place[0]}",
                        "no caption",
                        "no description",
                        "no answer",
                        "no annotation",
                        "no subtitles",
                        "'a'",
                    )
                    assert not is_field or any(word in error for word in named), (place, wrong, error)
                else:
                    assert all(map(is_well_typed, examples)), (place, wrong)
                    may_be = (wrong is None and place[-1] in OPTIONAL) or (wrong == [] and place[-1] in EMPTY)
                    is_token = case == "vcr" and isinstance(wrong, list) and place[1] in TOKENS
                    is_value = wrong is not None and not isinstance(wrong, list | dict)
                    assert examples == whole or is_value or may_be or is_token, (place, wrong)
        write(tmp_path, {name: content})


@pytest.mark.parametrize("case", CASES)
def test_a_file_that_is_cut_anywhere_is_an_error_that_names_it_or_reads_as_much(case: str, tmp_path: Path):
    dataset, files = CASES[case]
    whole = list(dataset.examples(write(tmp_path, files)))
    for name in files:
        text = (tmp_path / name).read_text()
        for end in range(0, len(text.rstrip()) - 1, max(1, len(text) // 20)):
            (tmp_path / name).write_text(text[:end])
            examples, error = read(dataset, tmp_path)
            assert name in error if error else len(examples) == len(whole), (name, end, error)
        (tmp_path / name).write_text(text)
