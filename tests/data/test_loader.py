import itertools
import json
import logging
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from allinone.data import loader as loaders
from allinone.data.cache import FrameCache
from allinone.data.clip_reader import Span
from allinone.data.example import Example
from allinone.data.loader import DataConfig
from allinone.text.answers import AnswerVocabulary
from allinone.text.tokenizer import Tokenizer
from allinone.types import IGNORE, Batch
from allinone.video import VideoError
from allinone.video.transforms import Transform

CONFIG = DataConfig(batch_size=4, transform=Transform.Config(resize=32, crop=28, random_crop=True))
example_loader = partial(loaders.example_loader, num_frames=2, max_text_len=40)
clip_loader = partial(loaders.clip_loader, num_frames=2)


@pytest.fixture
def broken(examples: list[Example], tmp_path: Path) -> list[Example]:
    """The examples with videos 2 and 5 unreadable: one missing, one damaged."""
    (tmp_path / "damaged.mp4").write_bytes(b"damaged")
    wrong = {"2": tmp_path / "missing.mp4", "5": tmp_path / "damaged.mp4"}
    return [replace(e, video=wrong.get(e.video_id, e.video)) for e in examples]


def shown_videos(batch: Batch) -> list[str]:
    """Which videos of the fixture the frames are of, by their green channel."""
    return [str(round((f[:, 1].float().mean().item() - 10) / 24)) for f in batch.frames]


def assert_equal(left: list[Batch], right: list[Batch]) -> None:
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert a.video_ids == b.video_ids
        assert torch.equal(a.frames, b.frames)
        assert torch.equal(a.text_ids, b.text_ids)
        assert torch.equal(a.text_mask, b.text_mask)
        assert a.labels is None
        assert b.labels is None


def test_a_batch_holds_clips_with_their_texts(examples: list[Example], tokenizer: Tokenizer):
    loader = example_loader(examples, tokenizer, CONFIG, training=True)
    seen = []
    for indices, batch in loader.indexed():
        assert batch.frames.shape == (4, 2, 3, 28, 28)
        assert batch.frames.dtype == torch.uint8
        assert batch.labels is None
        assert batch.video_ids == tuple(examples[i].video_id for i in indices)
        assert shown_videos(batch) == list(batch.video_ids)
        assert tokenizer.decode(batch.text_ids) == [examples[i].text for i in indices]
        assert batch.text_ids.shape[1] == batch.text_mask.sum(1).max()
        seen += indices
    assert len(seen) == len(set(seen)) == 48
    assert len(loader) == 12


def test_the_number_of_workers_changes_nothing(broken: list[Example], tokenizer: Tokenizer):
    runs = []
    for num_workers, cache_mb in [(0, 0), (2, 0), (1, 2), (2, 2), (0, 2)]:
        config = replace(CONFIG, num_workers=num_workers, cache_mb=cache_mb)
        runs.append(list(itertools.islice(example_loader(broken, tokenizer, config, training=True).forever(), 15)))
    for run in runs[1:]:
        assert_equal(run, runs[0])


def test_moments_and_crops_are_drawn_anew_each_epoch(examples: list[Example], tokenizer: Tokenizer):
    loader = example_loader(examples, tokenizer, replace(CONFIG, cache_mb=2), training=True)
    red = []
    for _ in range(2):
        clips = {}
        for indices, batch in loader.indexed():
            clips |= dict(zip(indices, batch.frames[:, :, 0].float().mean((-1, -2)).round().tolist(), strict=True))
        red.append(clips)
    both = red[0].keys() & red[1].keys()
    assert sum(red[0][i] != red[1][i] for i in both) > len(both) / 2


def test_loading_leaves_the_global_generator_alone(examples: list[Example], tokenizer: Tokenizer):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    next(iter(example_loader(examples, tokenizer, CONFIG, training=True)))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("done", [0, 5, 12, 17])
def test_a_resumed_loader_goes_on_with_the_next_batch(
    broken: list[Example], tokenizer: Tokenizer, num_workers: int, done: int
):
    config = replace(CONFIG, num_workers=num_workers)
    unbroken = list(itertools.islice(example_loader(broken, tokenizer, CONFIG, training=True).forever(), 20))
    first = example_loader(broken, tokenizer, config, training=True)
    stream = first.forever()
    for _ in range(done):
        next(stream)
    state = json.loads(json.dumps(first.state_dict()))
    second = example_loader(broken, tokenizer, config, training=True)
    second.load_state_dict(state)
    assert_equal(list(itertools.islice(second.forever(), 20 - done)), unbroken[done:])


def test_epochs_one_by_one_are_the_endless_stream(examples: list[Example], tokenizer: Tokenizer):
    loader = example_loader(examples, tokenizer, CONFIG, training=True)
    epochs = [*loader, *loader]
    assert loader.epoch == 2
    endless = itertools.islice(example_loader(examples, tokenizer, CONFIG, training=True).forever(), 24)
    assert_equal(epochs, list(endless))


def test_a_position_in_other_data_is_refused(examples: list[Example], tokenizer: Tokenizer):
    state = example_loader(examples, tokenizer, CONFIG, training=True).state_dict()
    other_size = example_loader(examples, tokenizer, replace(CONFIG, batch_size=5), training=True)
    with pytest.raises(ValueError, match="batch_size was 4, is 5"):
        other_size.load_state_dict(state)
    with pytest.raises(ValueError, match="examples was"):
        example_loader(examples[::-1], tokenizer, CONFIG, training=True).load_state_dict(state)
    moved = [replace(e, video=Path("elsewhere") / e.files[0].name) for e in examples]
    example_loader(moved, tokenizer, replace(CONFIG, num_workers=3, cache_mb=5), training=True).load_state_dict(state)


def test_ranks_share_an_epoch_without_overlap(examples: list[Example], tokenizer: Tokenizer):
    ranks = [example_loader(examples, tokenizer, CONFIG, training=True, rank=r, world_size=2) for r in range(2)]
    read = [[indices for indices, _ in loader.indexed()] for loader in ranks]
    assert [len(batches) for batches in read] == [6, 6] == [len(loader) for loader in ranks]
    flat = [i for batches in read for batch in batches for i in batch]
    assert len(flat) == len(set(flat)) == 48
    assert ranks[0].state_dict() == ranks[1].state_dict()


def test_unreadable_videos_are_replaced_in_training(
    broken: list[Example], tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture
):
    for num_workers in (0, 2):
        loader = example_loader(broken, tokenizer, replace(CONFIG, num_workers=num_workers), training=True)
        with caplog.at_level(logging.WARNING):
            batches = list(loader)
        assert all(len(batch) == 4 for batch in batches)
        assert all(len(set(batch.video_ids)) == 4 for batch in batches[:-2])
        for batch in batches:
            assert shown_videos(batch) == list(batch.video_ids)
            assert not {"2", "5"} & set(batch.video_ids)
        assert loader.unreadable.keys() == {"2", "5"}
        assert "missing.mp4" in loader.unreadable["2"]
        assert len([r for r in caplog.records if "damaged.mp4" in r.getMessage()]) == 1
        caplog.clear()


def test_training_stops_where_nothing_can_be_read(examples: list[Example], tokenizer: Tokenizer):
    nowhere = [replace(e, video=Path("nowhere.mp4")) for e in examples]
    for num_workers in (0, 1):
        with pytest.raises(VideoError, match=r"none of 200 videos tried can be read(.|\n)*nowhere\.mp4: no such file"):
            next(iter(example_loader(nowhere, tokenizer, replace(CONFIG, num_workers=num_workers), training=True)))


def test_unreadable_videos_are_one_error_in_evaluation(broken: list[Example], tokenizer: Tokenizer):
    for num_workers in (0, 2):
        loader = example_loader(broken, tokenizer, replace(CONFIG, num_workers=num_workers), training=False)
        batches = iter(loader)
        assert len([next(batches), next(batches)]) == 2  # a bad one is in the third
        with pytest.raises(VideoError) as error:
            next(batches)
        assert "2 videos cannot be read" in str(error.value)
        assert "missing.mp4" in str(error.value)
        assert "damaged.mp4" in str(error.value)


def test_missing_videos_may_be_left_out_of_an_evaluation(broken: list[Example], tokenizer: Tokenizer):
    loader = example_loader(broken, tokenizer, CONFIG, training=False, allow_missing=True)
    read = [(indices, batch.video_ids) for indices, batch in loader.indexed()]
    assert [i for indices, _ in read for i in indices] == [i for i, e in enumerate(broken) if e.video_id not in "25"]
    assert loader.unreadable.keys() == {"2", "5"}


def test_evaluation_keeps_the_order_and_draws_nothing(examples: list[Example], tokenizer: Tokenizer):
    loader = example_loader(examples, tokenizer, CONFIG, training=False)
    assert [i for indices, _ in loader.indexed() for i in indices] == list(range(50))
    assert_equal(list(loader), list(loader))


def test_questions_come_with_labels_and_apart_from_captions(examples: list[Example], tokenizer: Tokenizer):
    asked = [replace(e, text="a dog", answer=answer) for e, answer in zip(examples, ["Red", "blue"] * 15, strict=False)]
    answers = AnswerVocabulary(("red",))
    loader = example_loader([*examples, *asked], tokenizer, CONFIG, training=True, answers=answers)
    kinds = []
    for indices, batch in loader.indexed():
        kinds.append(batch.labels is not None)
        if batch.labels is not None:
            expected = [0 if asked[i - 50].answer == "Red" else IGNORE for i in indices]
            assert batch.labels.tolist() == expected
        else:
            assert max(indices) < 50
    assert sorted(kinds) == [False] * 12 + [True] * 7
    with pytest.raises(ValueError, match="need the vocabulary of their answers"):
        example_loader(asked, tokenizer, CONFIG, training=True)
    with pytest.raises(ValueError, match="apart"):
        example_loader([*examples, *asked], tokenizer, CONFIG, training=False, answers=answers)


def test_loaders_can_share_a_cache(examples: list[Example], tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch):
    cache = FrameCache([e.files[0] for e in examples], megabytes=2, size=32)
    list(example_loader(examples, tokenizer, CONFIG, training=True, cache=cache))
    monkeypatch.setattr("allinone.data.cache.probe", lambda *a, **k: pytest.fail("opened again"))
    assert len(list(example_loader(examples, tokenizer, CONFIG, training=False, cache=cache))) == 13
    other = replace(CONFIG, transform=Transform.Config(resize=40, crop=32))
    with pytest.raises(ValueError, match=r"size 32, but transform\.resize is 40"):
        example_loader(examples, tokenizer, other, training=True, cache=cache)


def test_long_captions_are_cut_and_counted(
    examples: list[Example], tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture
):
    batch = next(iter(example_loader(examples, tokenizer, CONFIG, training=True, max_text_len=3)))
    lengths = [len(row) for row in tokenizer.tokenize([example.text for example in examples])]
    assert caplog.messages == [
        f"{sum(length > 3 for length in lengths)} of {len(examples)} texts, of up to {max(lengths)} tokens, cut to 3, "
        "all that this model reads (its max_text_len); set model.max_text_len to read more"
    ]
    assert batch.text_ids.shape[1] <= 3
    assert (batch.text_ids == tokenizer.sep_id).sum(1).eq(1).all()


def test_no_examples_are_an_error(tokenizer: Tokenizer):
    with pytest.raises(ValueError, match="no examples"):
        example_loader([], tokenizer, CONFIG, training=True)


@pytest.mark.parametrize("name", ["batch_size", "length_window"])
def test_senseless_settings_are_refused(name: str):
    with pytest.raises(ValueError, match=f"{name} must be at least"):
        replace(CONFIG, **{name: 0})
    with pytest.raises(ValueError, match="num_workers must be at least 0, got -1"):
        replace(CONFIG, num_workers=-1)


def test_clips_alone_come_in_order_from_any_kind_of_source(videos: list[Path], examples: list[Example]):
    sources = [videos[0], str(videos[1]), videos[2].read_bytes(), Span(videos[3], 0.5, 1.5), examples[20]]
    for num_workers in (0, 2):
        loader = clip_loader(sources, replace(CONFIG, batch_size=2, num_workers=num_workers))
        read = list(loader.clips())
        assert [indices for indices, _ in read] == [[0, 1], [2, 3], [4]]
        assert len(loader) == 3
        green = torch.cat([frames for _, frames in read])[:, :, 1].float().mean((1, 2, 3))
        assert ((green - 10) / 24).round().tolist() == [0, 1, 2, 3, 4]


def test_views_of_a_clip_lie_beside_each_other(videos: list[Path]):
    views = torch.cat([f for _, f in clip_loader(videos[:3], replace(CONFIG, batch_size=2), num_views=3).clips()])
    assert views.shape == (9, 2, 3, 28, 28)
    one = torch.cat([f for _, f in clip_loader(videos[:3], CONFIG).clips()])
    assert torch.equal(views[1::3], one)  # the middle one of three
    assert not torch.equal(views[0::3], one)


def test_unreadable_clips_are_one_error_or_left_out(broken: list[Example]):
    clips = broken[::5]
    with pytest.raises(VideoError, match="2 videos cannot be read"):
        list(clip_loader(clips, CONFIG).clips())
    loader = clip_loader(clips, replace(CONFIG, batch_size=1), allow_missing=True)
    assert [indices for indices, _ in loader.clips()] == [[i] for i in range(10) if i not in (2, 5)]
    assert loader.unreadable.keys() == {2, 5}


def test_no_clips_are_no_batches():
    assert list(clip_loader([], CONFIG).clips()) == []


def test_choices_bring_all_their_options_and_batches_hold_one_number_of_them(videos: list[Path], tokenizer: Tokenizer):
    def choice(number: int, options: tuple[str, ...]) -> Example:
        path = videos[number]
        return Example(video=path, video_id=path.stem, text="a", options=options, right=number % 2, id=str(number))

    examples = [choice(i, ("dog", "red ball")) for i in range(4)] + [choice(i, ("dog", "ball", "")) for i in range(4)]
    config = replace(CONFIG, batch_size=2)
    seen = []
    for indices, batch in example_loader(examples, tokenizer, config, training=True).indexed():
        assert batch.task == "choice"
        assert len(batch) == 2
        texts = [t for i in indices for t in examples[i].texts]
        assert tokenizer.decode(batch.text_ids) == texts
        assert batch.labels is not None
        assert batch.labels.tolist() == [examples[i].right for i in indices]
        assert shown_videos(batch) == [examples[i].video_id for i in indices]
        seen += indices
    assert sorted(seen) == list(range(8))
    assert examples[0].texts == ("a dog", "a red ball")


def test_labels_and_numbers_come_as_they_are_known(videos: list[Path], tokenizer: Tokenizer):
    labels = [Example(video=v, video_id=v.stem, text="", label=("run", "sit")[i % 2]) for i, v in enumerate(videos)]
    numbers = [Example(video=v, video_id=v.stem, text="a", number=i) for i, v in enumerate(videos)]
    config = replace(CONFIG, batch_size=5)
    for examples, wanted in ((labels, [2, 0] * 5), (numbers, list(range(10)))):
        loader = example_loader(examples, tokenizer, config, training=False, classes=("sit", "jump", "run"))
        found = [batch.labels.tolist() for batch in loader if batch.labels is not None]
        assert [label for labels in found for label in labels] == wanted
    with pytest.raises(ValueError, match="no class 'run' among 1"):
        example_loader(labels, tokenizer, config, training=True, classes=("sit",))


def test_secret_and_unknown_answers_are_ignored(videos: list[Path], tokenizer: Tokenizer):
    answers = ("red", "", "green")
    examples = [Example(video=v, video_id=v.stem, text="a", answer=a) for v, a in zip(videos, answers, strict=False)]
    loader = example_loader(examples, tokenizer, CONFIG, training=False, answers=AnswerVocabulary(("red",)))
    assert [batch.labels.tolist() for batch in loader if batch.labels is not None] == [[0, IGNORE, IGNORE]]


def test_no_more_workers_start_than_there_are_processors(broken, tokenizer, monkeypatch):
    """Otherwise torch warns at every start, which is an error here."""
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1}, raising=False)
    config = replace(CONFIG, num_workers=64)
    assert len(next(iter(example_loader(broken, tokenizer, config, training=True)))) > 0
