import json

import pytest

from allinone.text.answers import AnswerVocabulary, normalize_answer, normalize_vqa_answer
from allinone.types import IGNORE


def test_answers_that_differ_in_case_space_and_final_marks_are_the_same():
    for answer in ("two dogs", " Two  DOGS. ", "two\tdogs!", "\uff54\uff57\uff4f dogs"):
        assert normalize_answer(answer) == "two dogs"
    assert normalize_answer("a dog") != normalize_answer("dog")
    assert normalize_answer("3.5") == "3.5"


@pytest.mark.parametrize(
    ("answer", "normal"),
    [
        ("The  dog.", "dog"),
        ("Two", "2"),
        ("none", "0"),
        ("dont know", "don't know"),
        ("couldntve", "couldntve"),  # two apostrophes are missing: not in the official list
        ("couldnt've", "couldn't've"),
        ("twas", "'twas"),
        ("somebody'd", "somebodyd"),  # official, though odd
        ("blue/green", "blue green"),
        ("blue / green", "blue green"),
        ("t-shirt", "t shirt"),
        ("- t-shirt", "tshirt"),  # one mark beside a space, and all of its kind go
        ("1,000", "1000"),
        ("1,000 t-shirts", "1000 tshirts"),
        ("3.5", "3.5"),
        ("7:30 a.m.", "7:30 am"),
        ("joe's", "joe's"),
        ("yes\n", "yes"),
        ("a", ""),
    ],
)
def test_answers_are_compared_as_the_evaluation_of_vqa_does(answer: str, normal: str):
    assert normalize_vqa_answer(answer) == normal


def test_frequent_answers_come_first_and_equals_by_alphabet():
    vocabulary = AnswerVocabulary.build(["red", "Blue", "blue", "green", "", "Red.", "blue", "apple"])
    assert vocabulary.answers == ("blue", "red", "apple", "green")
    assert AnswerVocabulary.build(["b", "a", "b", "c"], max_size=2).answers == ("b", "a")


def test_an_answer_has_its_label_and_an_unseen_one_is_ignored():
    vocabulary = AnswerVocabulary.build(["blue", "blue", "red"])
    assert [vocabulary.index(a) for a in ("Blue", "red.", "pink")] == [0, 1, IGNORE]
    assert len(vocabulary) == 2


def test_a_vocabulary_survives_json():
    vocabulary = AnswerVocabulary.build(["blue", "red", "größer"])
    assert AnswerVocabulary(tuple(json.loads(json.dumps(vocabulary.answers)))) == vocabulary


@pytest.mark.parametrize(
    ("answers", "message"),
    [((), "at least one"), (("Blue",), "not normalized: 'Blue'"), (("a", "a"), "twice: 'a'"), (("",), "normalized")],
)
def test_a_vocabulary_that_could_confuse_labels_is_refused(answers: tuple[str, ...], message: str):
    with pytest.raises(ValueError, match=message):
        AnswerVocabulary(answers)


def test_no_answers_make_no_vocabulary():
    with pytest.raises(ValueError, match="no answers"):
        AnswerVocabulary.build(["", " ."])
