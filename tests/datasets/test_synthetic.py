import json
import os
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from allinone.data.example import Dataset
from allinone.datasets import captioned
from allinone.datasets.synthetic import Captions, OrderPairs, Questions, make_world, plan_world
from allinone.datasets.synthetic.drawing import NUM_FRAMES, SIZE, placements, render, sprite
from allinone.datasets.synthetic.scenes import COLORS, NUMBERS, QUESTION_KINDS, SHAPES, Scene, opposite
from allinone.datasets.synthetic.world import FPS, GALLERY, Shot
from allinone.video import probe, read_frames

PLAN = plan_world(num_train=1200, num_pairs=100, seed=0)
TEST = [*PLAN.gallery, *PLAN.quiz, *PLAN.pairs]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world") / "made"
    make_world(root, num_train=40, num_pairs=6, seed=1, processes=2)
    return root


def some(shots: list[Shot], kind: str, num: int = 12) -> list[Shot]:
    return [shot for shot in shots if shot.scene.kind == kind][:num]


def covered(frame: np.ndarray, color: str) -> np.ndarray:
    """Where the picture is about of this color, and not of another."""
    colors = np.array([*COLORS.values(), (45, 45, 45)])
    nearest = abs(frame[:, :, None].astype(int) - colors).sum(axis=-1).argmin(axis=-1)
    return nearest == list(COLORS).index(color)


def coverage(frame: np.ndarray, color: str) -> np.ndarray:
    """How far each pixel is on the way from the dark background to this color, 0 to 1: soft edges count in part."""
    way = np.array(COLORS[color], dtype=float) - 45
    return np.clip((frame - 45.0) @ way / (way @ way), 0, 1)


def centre(frame: np.ndarray, color: str) -> np.ndarray:
    """Mean (x, y) of the pixels of a color."""
    return np.argwhere(covered(frame, color)).mean(axis=0)[::-1]


def num_blobs(mask: np.ndarray) -> int:
    """Connected regions of more than a few pixels."""
    label = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        padded = np.pad(label, 1)
        neighbors = [padded[1:-1, :-2], padded[1:-1, 2:], padded[:-2, 1:-1], padded[2:, 1:-1]]
        grown = np.where(mask, np.max([label, *neighbors], axis=0), 0)
        if (grown == label).all():
            return sum(count > 8 for value, count in Counter(label.ravel().tolist()).items() if value)
        label = grown


def test_the_same_seed_gives_the_same_bytes():
    again = plan_world(num_train=1200, num_pairs=100, seed=0)
    assert again == PLAN
    for shot in PLAN.shots[::100]:
        frames = render(shot.scene, shot.looks)
        assert frames.shape == (NUM_FRAMES, SIZE, SIZE, 3)
        assert frames.tobytes() == render(shot.scene, shot.looks).tobytes()


def test_another_seed_gives_other_clips_captions_and_splits():
    other = plan_world(num_train=1200, num_pairs=100, seed=1)
    assert other.captions != PLAN.captions
    assert {s.scene for s in other.gallery} != {s.scene for s in PLAN.gallery}
    for mine, theirs in zip(PLAN.gallery[:20], other.gallery[:20], strict=True):
        assert not np.array_equal(render(mine.scene, mine.looks), render(mine.scene, theirs.looks))


def test_no_two_clips_look_alike():
    seen = Counter(render(shot.scene, shot.looks).tobytes() for shot in [*PLAN.train[:300], *TEST])
    assert set(seen.values()) == {1}


@pytest.mark.parametrize("shots", [PLAN.train, TEST], ids=["train", "test"])
def test_an_object_goes_where_its_caption_says(shots: list[Shot]):
    for shot in some(shots, "direction", 24):
        frames, (color, _) = render(shot.scene, shot.looks), shot.scene.objects[0]
        x, y = centre(frames[-1], color) - centre(frames[0], color)
        far, aside = (x, y) if shot.scene.change in ("left", "right") else (y, x)
        assert far * (1 if shot.scene.change in ("right", "down") else -1) > 15
        assert abs(aside) < 1
        assert shot.caption.split()[-1] == shot.scene.change


def test_an_object_grows_or_shrinks_as_its_caption_says():
    for shot in some(TEST, "size"):
        frames, (color, _) = render(shot.scene, shot.looks), shot.scene.objects[0]
        areas = [coverage(frame, color).sum() for frame in frames]
        grows = any(word in shot.caption for word in ("grows", "bigger"))
        assert grows != any(word in shot.caption for word in ("shrinks", "smaller"))
        assert np.all(np.diff(areas if grows else areas[::-1]) > 0)
        first, last = (covered(frames[i], color).sum() for i in (0, -1))
        assert max(first, last) > 5 * min(first, last)


def test_the_object_that_is_named_first_in_time_is_seen_first():
    for shot in some(TEST, "order", 40):
        frames = render(shot.scene, shot.looks)
        (first, _), (last, _) = shot.scene.objects
        there = np.array([[covered(frame, color).sum() > 80 for color in (first, last)] for frame in frames])
        assert there.sum(axis=1).tolist() == [1] * NUM_FRAMES  # one at a time
        assert there[:7, 0].all()
        assert there[-7:, 1].all()
        said = [word for word in shot.caption.split() if word in COLORS]
        assert said == ([first, last] if "before" in shot.caption else [last, first])


def test_there_are_as_many_objects_as_the_caption_says():
    for shot in some(TEST, "count", 24):
        frames, (color, shape) = render(shot.scene, shot.looks), shot.scene.objects[0]
        for frame in (frames[0], frames[9]):
            assert num_blobs(covered(frame, color)) == shot.scene.number
        assert f"{NUMBERS[shot.scene.number]} {color} {shape}s" in shot.caption


def test_shapes_differ_in_what_they_cover():
    sprites = np.stack([sprite(shape, 20)[..., 0] for shape in SHAPES])
    for i, one in enumerate(sprites):
        assert one.max() == 1
        for other in sprites[i + 1 :]:
            assert abs(one - other).sum() > 0.15 * 20 * 20
    assert np.allclose(sprites, sprites[:, :, ::-1])  # none points left or right
    middle = sprites[SHAPES.index("star")]
    assert 0.25 < middle.mean() < 0.4
    assert middle[:2, 8:12].sum() > 1  # the tip on top
    assert middle[:6, :4].sum() == 0


def test_objects_stay_within_the_picture():
    for shot in TEST:
        for _, frame, diameter, x, y in placements(
            shot.scene.reversed() if shot.scene.is_backward else shot.scene, np.random.default_rng(shot.looks)
        ):
            assert 0 <= frame < NUM_FRAMES
            assert min(x, y) - diameter // 2 >= 0
            assert max(x, y) - diameter // 2 + diameter <= SIZE


def test_a_pair_is_a_clip_and_its_exact_reversal():
    train = [shot for shot in PLAN.train if shot.scene.kind != "count"]
    for shots in (train[:200], PLAN.pairs):
        for one, other in zip(shots[::2], shots[1::2], strict=True):
            forward, backward = render(one.scene, one.looks), render(other.scene, other.looks)
            assert np.array_equal(forward, backward[::-1])
            assert not np.array_equal(forward, backward)
            assert np.array_equal(forward[NUM_FRAMES // 2], backward[NUM_FRAMES // 2])  # the frame in the middle


def test_captions_of_a_pair_differ_in_one_word_and_are_true_of_one_clip_each():
    for one, other in zip(PLAN.pairs[::2], PLAN.pairs[1::2], strict=True):
        words = list(zip(one.caption.split(), other.caption.split(), strict=True))
        assert [a != b for a, b in words].count(True) == 1
        assert one.caption in one.scene.captions()
        assert other.caption in other.scene.captions()
        assert not set(one.scene.captions()) & set(other.scene.captions())


def test_which_clip_of_a_pair_comes_first_says_nothing_about_it():
    for kind in ("direction", "size", "order"):
        first = [shot.scene.is_backward for shot in PLAN.train[::2] if shot.scene.kind == kind]
        assert 0.35 < np.mean(first) < 0.65


def test_the_opposite_of_a_caption_is_true_of_the_clip_run_backwards():
    for shot in PLAN.shots:
        for caption in shot.scene.captions():
            assert opposite(caption) in shot.scene.reversed().captions()
            assert opposite(opposite(caption)) == caption
        assert shot.scene.reversed().reversed() == shot.scene


def test_a_caption_fits_only_one_scene():
    scenes = defaultdict[str, set[Scene]](set)
    for shot in PLAN.shots:
        assert shot.caption in shot.scene.captions()
        for caption in shot.scene.captions():
            assert len(caption.split()) <= 12
            scenes[caption].add(shot.scene)
    assert {len(found) for found in scenes.values()} == {1}


@pytest.mark.parametrize("seed", [0, 1, 2, 7])
def test_no_scene_of_the_test_occurs_in_training(seed: int):
    plan = plan_world(num_train=4000, num_pairs=100, seed=seed)
    test = [*plan.gallery, *plan.quiz, *plan.pairs]
    assert not {s.scene for s in plan.train} & {s.scene for s in test}
    said = {caption for s in plan.train for caption in s.scene.captions()}
    assert not said & {caption for s in test for caption in s.scene.captions()}
    looks = [Counter(s.looks for s in shots) for shots in (plan.train, plan.gallery, plan.quiz, plan.pairs)]
    assert len(set().union(*looks)) == sum(map(len, looks))
    assert len({s.name for s in plan.shots}) == len(plan.shots) == 4000 + 100 + 234 + 200


def test_training_shows_all_scenes_that_the_test_does_not():
    seen = {s.scene for s in plan_world(num_train=4000, num_pairs=100, seed=0).train}
    unseen = {s.scene for s in PLAN.quiz}
    num_of = Counter(scene.kind for scene in seen)
    assert num_of == {"direction": 64, "size": 32, "order": 270, "count": 48}
    assert Counter(scene.kind for scene in unseen) == {"direction": 32, "size": 16, "order": 90, "count": 24}
    assert {s.scene for s in PLAN.gallery} | {s.scene for s in PLAN.pairs} <= unseen


def test_every_object_is_seen_in_most_motions_and_numbers():
    seen = {s.scene for s in plan_world(num_train=4000, num_pairs=100, seed=0).train}
    for thing in ((color, shape) for color in COLORS for shape in SHAPES):
        own = [scene for scene in seen if scene.objects == (thing,)]
        assert len({scene.change for scene in own if scene.change}) == 4
        assert len({scene.number for scene in own if scene.kind == "count"}) == 2


def test_the_gallery_has_a_hundred_captions_of_different_content():
    assert len(PLAN.gallery) == len({s.caption for s in PLAN.gallery}) == len({s.scene for s in PLAN.gallery}) == 100
    assert Counter(s.scene.kind for s in PLAN.gallery) == GALLERY


def test_test_questions_are_sixty_of_each_kind_with_equally_frequent_answers():
    asked = [record for record in PLAN.questions if record["split"] == "test"]
    assert Counter(r["kind"] for r in asked) == dict.fromkeys(QUESTION_KINDS, 60)
    for kind in QUESTION_KINDS:
        answers = Counter(r["answer"] for r in asked if r["kind"] == kind)
        assert len(set(answers.values())) == 1
        assert len(answers) >= 4
    assert len({(r["video"], r["question"]) for r in asked}) == 300


@pytest.mark.parametrize("seed", range(4))
def test_questions_without_clips_suffice_for_few_answers(seed: int):
    plan = plan_world(num_train=4000, num_pairs=100, seed=seed)
    answers = defaultdict[str, Counter](Counter)
    for r in plan.questions:
        if r["split"] == "train":
            answers[r["question"]][r["answer"]] += 1
    best = {question: counts.most_common(1)[0][0] for question, counts in answers.items()}
    asked = [r for r in plan.questions if r["split"] == "test"]
    assert np.mean([best[r["question"]] == r["answer"] for r in asked]) < 0.3


def test_training_questions_are_balanced_too():
    asked = [record for record in PLAN.questions if record["split"] == "train"]
    for kind in QUESTION_KINDS:
        answers = Counter(r["answer"] for r in asked if r["kind"] == kind)
        assert len(set(answers.values())) == 1
        assert sum(answers.values()) >= 200
    known = {(r["kind"], r["answer"]) for r in asked}
    assert {(r["kind"], r["answer"]) for r in PLAN.questions} == known


def test_answers_are_true_of_the_scene():
    moves = Scene("direction", (("red", "star"),), "left").questions()
    assert ("colour", "what colour is the star?", "red") in moves
    assert ("motion", "what does it do?", "moves left") in moves
    assert ("count", "how many objects are there?", "one") in moves
    grows = Scene("size", (("red", "star"),), "grows").questions()
    assert ("motion", "what does it do?", "grows") in grows
    then = Scene("order", (("red", "star"), ("blue", "circle"))).questions()
    assert {(question, answer) for _, question, answer in then} == {
        ("what colour is the star?", "red"),
        ("what colour is the circle?", "blue"),
        ("what shape is the red one?", "star"),
        ("what shape is the blue one?", "circle"),
        ("what colour comes first?", "red"),
        ("what colour comes last?", "blue"),
        ("what shape comes first?", "star"),
        ("what shape comes last?", "circle"),
    }
    many = Scene("count", (("green", "square"),), number=3).questions()
    assert {(question, answer) for _, question, answer in many} == {
        ("what colour are they?", "green"),
        ("what shape are they?", "square"),
        ("how many objects are there?", "three"),
    }


def test_the_single_frames_of_both_clips_of_a_pair_are_the_same():
    for forward in (
        Scene("direction", (("red", "star"),), "down"),
        Scene("order", (("blue", "circle"), ("red", "star"))),
    ):
        clips = [render(scene, (5,)) for scene in (forward, forward.reversed())]
        shuffled, other = (Counter(frame.tobytes() for frame in clip) for clip in clips)
        assert shuffled == other


def test_the_files_show_the_drawn_frames(world: Path):
    plan = plan_world(num_train=40, num_pairs=6, seed=1)
    for shot in plan.shots[::40]:
        path, drawn = world / shot.video, render(shot.scene, shot.looks)
        info = probe(path)
        assert (info.width, info.height, info.fps) == (SIZE, SIZE, FPS)
        shown = read_frames(path, indices=range(NUM_FRAMES)).frames.permute(0, 2, 3, 1).numpy()
        assert abs(shown.astype(int) - drawn).mean() < 6
    assert sorted(os.listdir(world / "videos")) == sorted(f"{shot.name}.mp4" for shot in plan.shots)


def test_readers_yield_the_plan(world: Path):
    plan = plan_world(num_train=40, num_pairs=6, seed=1)
    for reader in (Captions(split="test"), Questions(split="test"), OrderPairs(split="train")):
        assert isinstance(reader, Dataset)
    gallery = Captions(split="test").examples(world)
    assert [(e.video, e.video_id, e.text, e.kind) for e in gallery] == [
        (world / s.video, s.video, s.caption, s.scene.kind) for s in plan.gallery
    ]
    assert len(Captions(split="train").examples(world)) == 40
    assert {e.kind for e in Captions(split="train", kinds=("order",)).examples(world)} == {"order"}
    asked = Questions(split="test").examples(world)
    assert len(asked) == 300
    assert all(e.answer for e in asked)
    assert {e.kind for e in Questions(split="test", kinds=("motion", "order")).examples(world)} == {"motion", "order"}
    pairs = OrderPairs(split="test").examples(world)
    assert [(e.video, e.text) for e in pairs] == [(world / s.video, s.caption) for s in plan.pairs]
    assert all(a.text == opposite(b.text) for a, b in zip(pairs[::2], pairs[1::2], strict=True))
    trained = {e.video for e in Captions(split="train").examples(world)}
    assert {e.video for e in OrderPairs(split="train").examples(world)} <= trained


def test_readers_of_the_users_own_folders_read_it_too(world: Path):
    own = captioned.Captions(split="test", file="captions.jsonl").examples(world)
    assert [(e.video, e.video_id, e.text) for e in own] == [
        (e.video, e.video_id, e.text) for e in Captions(split="test").examples(world)
    ]
    assert captioned.Questions(split="train", file="questions.jsonl").examples(world) == Questions(
        split="train"
    ).examples(world)


def test_a_second_call_makes_nothing_again(world: Path):
    before = {path: path.stat().st_mtime_ns for path in world.rglob("*")}
    calls = []
    make_world(world, num_train=40, num_pairs=6, seed=1, progress=lambda done, total: calls.append((done, total)))
    assert {path: path.stat().st_mtime_ns for path in world.rglob("*")} == before
    assert calls == []


@pytest.mark.parametrize("processes", [1, 2])
def test_an_interrupted_call_goes_on_where_it_stopped(tmp_path: Path, processes: int):
    class Enough(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 5:
            raise Enough

    root, calls = tmp_path / "made", []
    with pytest.raises(Enough):
        make_world(root, num_train=2, num_pairs=1, processes=processes, progress=stop)
    with pytest.raises(ValueError, match="no complete synthetic world"):
        Captions(split="test").examples(root)
    first = {path: path.stat().st_mtime_ns for path in (root / "videos").iterdir()}
    make_world(root, num_train=2, num_pairs=1, processes=2, progress=lambda *n: calls.append(n))
    assert 5 <= len(first) < 100
    assert calls == [(n, 338) for n in range(len(first) + 1, 339)]
    assert all(path.stat().st_mtime_ns == time for path, time in first.items())
    assert len(Captions(split="test").examples(root)) == 100
    lost = next(iter(first))
    lost.unlink()
    make_world(root, num_train=2, num_pairs=1)
    assert lost.exists()


def test_another_world_does_not_take_the_place_of_this_one(world: Path):
    with pytest.raises(ValueError, match="holds another world"):
        make_world(world, num_train=40, num_pairs=6, seed=2)
    assert json.loads((world / "world.json").read_text())["seed"] == 1


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path):
    (tmp_path / "holiday.mp4").touch()
    with pytest.raises(ValueError, match="needs an empty folder"):
        make_world(tmp_path)
    assert os.listdir(tmp_path) == ["holiday.mp4"]


def test_wrong_choices_are_named(world: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="there are: train"):
        Captions(split="val").examples(world)
    with pytest.raises(ValueError, match=r"no kind 'colour' in captions\.jsonl; there are: direction, size"):
        Captions(split="train", kinds=("colour",)).examples(world)
    with pytest.raises(ValueError, match=r"no kind 'count' in pairs\.jsonl"):
        OrderPairs(split="train", kinds=("count",)).examples(world)
    with pytest.raises(ValueError, match="num_train=3, num_pairs=1, seed=-1"):
        make_world(tmp_path / "odd", num_train=3, num_pairs=1, seed=-1)
    assert not (tmp_path / "odd").exists()
    with pytest.raises(ValueError, match="make_world"):
        Captions(split="train").examples(tmp_path)
