import pytest

from allinone.apps.tools.info import Counts, count_records, counts_as_json, differences
from apps.tools.world import RECORDS, SMALL, write_rows


def test_counts_need_no_videos_and_are_compared_with_the_published_ones(tmp_path):
    write_rows(tmp_path, RECORDS)
    assert counts_as_json(count_records(SMALL, tmp_path)) == {
        "questions": {
            "train": {
                "records": 4, "videos": 3, "options": None, "answers": 2,
                "published": {"records": 4, "videos": 3}, "equal": True,
            },
            "test": {
                "records": 1, "videos": 1, "options": None, "answers": 1,
                "published": {"records": 1, "videos": None}, "equal": True,
            },
        },
        "choices": {
            "train": {
                "records": 4, "videos": 3, "options": 2, "answers": None,
                "published": {"records": 5, "videos": None}, "equal": False,
            },
        },
    }  # fmt: skip
    assert list(differences(count_records(SMALL, tmp_path))) == ["choices, train: 4 records, not 5 as published"]


def test_an_absent_file_is_said_per_split_and_a_broken_one_named(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"video": "a", "text"\n')
    found = count_records(SMALL, tmp_path)
    assert "no annotation file test.jsonl" in str(found["questions"]["test"])
    assert "train.jsonl: line 1" in str(found["questions"]["train"])


def test_only_chosen_splits_are_read_and_unknown_ones_refused(tmp_path):
    write_rows(tmp_path, RECORDS)
    assert [list(splits) for splits in count_records(SMALL, tmp_path, ["test"]).values()] == [["test"]]
    assert list(count_records(SMALL, tmp_path, tasks=["choices"])) == ["choices"]
    with pytest.raises(ValueError, match="small has no split val; there are: test, train"):
        count_records(SMALL, tmp_path, ["val"])
    with pytest.raises(ValueError, match="small has no task captions; there are: questions, choices"):
        count_records(SMALL, tmp_path, tasks=["captions"])


def test_a_split_that_shrank_is_counted(tmp_path):
    write_rows(tmp_path, {"train": RECORDS["train"][:2], "test": RECORDS["test"]})
    there = count_records(SMALL, tmp_path)["questions"]["train"]
    assert isinstance(there, Counts)
    assert (there.records, there.videos, there.equal) == (2, 1, False)


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="there is no such folder"):
        count_records(SMALL, tmp_path / "none")
