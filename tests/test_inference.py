import inspect
import io
import json
import pydoc
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from PIL import Image

import allinone
from allinone.checkpoint import save_checkpoint
from allinone.data.clip_reader import Span
from allinone.data.example import option_texts
from allinone.data.video_inputs import is_one
from allinone.inference import Predictor, load
from allinone.model.device import choose_device
from allinone.model.heads import AnswerHead, ChoiceHead, ContrastiveHead, MatchingHead, RankingHead
from allinone.model.model import AllInOne
from allinone.scoring import Precision, all_pairs
from allinone.text.tokenizer import pad
from allinone.video import VideoError, read_frames
from allinone.video.in_memory import to_tensor
from allinone.video.transforms import Transform
from tiny import ANSWERS, CONFIG, HEADS, TEXTS, tiny_frames, tiny_predictor, tiny_tokenizer, write_videos


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_videos(tmp_path_factory.mktemp("videos"), 6)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return tiny_predictor()


def close(one: torch.Tensor, other: torch.Tensor, tolerance: float = 1e-5) -> bool:
    return one.shape == other.shape and bool((one - other).abs().max() <= tolerance)


def test_embeddings_are_float32_of_unit_length_and_differ(predictor: Predictor, videos: list[Path]):
    for vectors in (predictor.embed_video(videos), predictor.embed_text(TEXTS)):
        assert vectors.dtype == torch.float32
        assert vectors.shape[1] == CONFIG.shared_dim
        assert close(vectors.norm(dim=1), torch.ones(len(vectors)))
        assert torch.pdist(vectors).min() > 1e-3
        assert not vectors.is_inference()  # so that a probe can be trained on them
        assert not vectors.requires_grad


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_results_do_not_depend_on_the_batch(predictor: Predictor, videos: list[Path], batch_size: int):
    other = tiny_predictor(batch_size=batch_size)
    assert close(other.embed_video(videos), predictor.embed_video(videos))
    assert close(other.embed_text(TEXTS), predictor.embed_text(TEXTS))
    assert close(other.match(videos[0], TEXTS), predictor.match(videos[0], TEXTS))
    frames = torch.cat([clips for _, clips in predictor.clips(videos)])
    rows, pairs = predictor.tokenize(TEXTS), all_pairs(len(videos), len(TEXTS))
    assert close(other.log_odds(frames, rows, pairs), predictor.log_odds(frames, rows, pairs))
    head = predictor.model.require(AnswerHead)
    assert close(other.joint(head, frames, rows, pairs), predictor.joint(head, frames, rows, pairs))


def test_results_are_in_the_order_of_what_was_given(predictor: Predictor, videos: list[Path]):
    vectors = predictor.embed_video(videos)
    order = [4, 0, 5, 2, 2]
    assert close(predictor.embed_video([videos[i] for i in order]), vectors[order])
    texts = predictor.embed_text(TEXTS)
    assert close(predictor.embed_text(TEXTS[::-1]), texts.flip(0))
    for i, path in enumerate(videos):
        alone = torch.cat([predictor.match(path, text) for text in TEXTS])
        assert close(predictor.match(path, TEXTS), alone), i


def test_a_video_may_be_a_path_bytes_a_clip_frames_or_a_part(predictor: Predictor, videos: list[Path]):
    path = videos[1]
    wanted = predictor.embed_video(path)
    clip = read_frames(path, indices=[1, 3, 5, 7])  # one second at 8 a second: the middles of four segments
    sources = [str(path), path.read_bytes(), clip, clip.frames, Span(path, 0.0, 1.0)]
    assert close(predictor.embed_video(sources), wanted.expand(len(sources), -1))
    assert close(predictor.embed_video(clip.frames), wanted)
    assert close(predictor.embed_video(clip.frames[None]), wanted)
    every = read_frames(path, indices=range(8))
    assert close(predictor.embed_video(every), wanted)
    assert not close(predictor.embed_video(Span(path, 0.5, 1.0)), wanted)


def test_files_and_frames_may_be_mixed(predictor: Predictor, videos: list[Path]):
    clips = [read_frames(path, indices=range(8)) for path in videos]
    mixed = [clips[0], videos[1], clips[2].frames, videos[3], videos[4].read_bytes(), clips[5]]
    assert close(predictor.embed_video(mixed), predictor.embed_video(videos))


def test_a_single_frame_is_a_clip(predictor: Predictor):
    frame = torch.from_numpy(tiny_frames(0, 1)).permute(0, 3, 1, 2)
    assert close(predictor.embed_video(frame), predictor.embed_video(frame.expand(4, -1, -1, -1)))


def test_several_views_look_at_other_moments_and_are_averaged(predictor: Predictor, videos: list[Path]):
    one = predictor.embed_video(videos[0])
    several = predictor.embed_video(videos[0], num_views=2)
    assert not close(one, several, 1e-3)
    frames = next(predictor.clips([videos[0]], num_views=2))[1]
    apart = torch.cat([predictor.embed_clips(frames[:, [v]]) for v in range(2)])
    assert close(several, torch.nn.functional.normalize(apart.mean(0, keepdim=True), dim=-1))
    rows = predictor.tokenize(TEXTS)
    pairs = all_pairs(1, len(rows))
    odds = torch.stack([predictor.log_odds(frames[:, [v]], rows, pairs) for v in range(2)])
    assert close(predictor.match(videos[0], TEXTS, num_views=2), odds.mean(0).sigmoid())


def test_nothing_gives_nothing(predictor: Predictor, videos: list[Path]):
    assert predictor.embed_video([]).shape == (0, CONFIG.shared_dim)
    assert predictor.embed_text([]).shape == (0, CONFIG.shared_dim)
    assert predictor.match(videos[0], []).shape == (0,)
    assert predictor.embed_text("").shape == (1, CONFIG.shared_dim)


def test_match_gives_the_probability_of_each_text(predictor: Predictor, videos: list[Path]):
    probs = predictor.match(videos[0], TEXTS)
    assert probs.shape == (len(TEXTS),)
    assert probs.unique().numel() == len(TEXTS)
    assert ((probs > 0) & (probs < 1)).all()
    model = predictor.model
    ids, mask = tiny_tokenizer().encode(TEXTS)
    frames = next(predictor.clips([videos[0]]))[1][:, 0].expand(len(TEXTS), -1, -1, -1, -1)
    with torch.no_grad():
        logits = model.require(MatchingHead)(model.encoder.pool(model.encoder(frames, ids, mask).text))
    assert close(probs, logits.softmax(1)[:, 1])


def test_answers_come_likeliest_first(predictor: Predictor, videos: list[Path]):
    answers = predictor.answer(videos[0], "what colour is it?", top_k=None)
    assert {answer for answer, _ in answers} == set(ANSWERS)
    probs = [p for _, p in answers]
    assert probs == sorted(probs, reverse=True)
    assert sum(probs) == pytest.approx(1)
    assert predictor.answer(videos[0], "what colour is it?", top_k=1) == answers[:1]
    assert predictor.answer(videos[0], "what colour is it?") == answers


def test_choosing_reads_question_and_option_together(videos: list[Path]):
    heads = {"ranking": RankingHead.Config(), "choice": ChoiceHead.Config(hidden=8), **HEADS}
    options = ["red", "a dog"]
    texts = option_texts("which?", options)
    assert texts == ("which? red", "which? a dog")
    assert option_texts("", options) == tuple(options)
    for left_out, used in (((), ChoiceHead), (("choice",), RankingHead)):
        predictor = tiny_predictor(heads={kind: c for kind, c in heads.items() if kind not in left_out})
        probs = predictor.choose(videos[0], "which?", options)
        frames = next(predictor.clips([videos[0]]))[1]
        head = predictor.model.require(used)
        scores = predictor.joint(head, frames, predictor.tokenize(texts), all_pairs(1, 2))
        assert close(probs, scores.softmax(0))
    matching = tiny_predictor()
    probs = matching.choose(videos[0], "which?", TEXTS)
    assert probs.sum().item() == pytest.approx(1)
    matched = matching.match(videos[0], option_texts("which?", TEXTS))
    assert torch.equal(probs.argsort(), matched.argsort())


@dataclass(frozen=True)
class Lacks:
    heads: dict
    call: str
    message: str


@pytest.mark.parametrize(
    "case",
    [
        Lacks({"matching": MatchingHead.Config()}, "embed_video", r"no contrastive head \(it has: matching\)"),
        Lacks({"matching": MatchingHead.Config()}, "embed_text", r"no contrastive head \(it has: matching\)"),
        Lacks({"contrastive": ContrastiveHead.Config()}, "match", r"no matching head \(it has: contrastive\)"),
        Lacks({}, "answer", r"no answer head \(it has: none\)"),
        Lacks({"contrastive": ContrastiveHead.Config()}, "choose", r"choice, ranking or matching .* contrastive"),
    ],
    ids=lambda case: case.call,
)
def test_a_missing_head_is_named_with_those_there_are(videos: list[Path], case: Lacks):
    predictor = tiny_predictor(heads=case.heads)
    arguments = {
        "embed_video": ([videos[0]],),
        "embed_text": (["red"],),
        "match": (videos[0], ["red"]),
        "answer": (videos[0], "what?"),
        "choose": (videos[0], "what?", ["red"]),
    }[case.call]
    with pytest.raises(ValueError, match=case.message):
        getattr(predictor, case.call)(*arguments)


def test_without_a_vocabulary_videos_can_be_embedded_and_texts_say_what_to_do(videos: list[Path]):
    predictor = Predictor(AllInOne.build(CONFIG, HEADS))
    assert predictor.embed_video(videos[:1]).shape == (1, CONFIG.shared_dim)
    with pytest.raises(ValueError, match=r"no tokenizer.json.*Tokenizer.from_vocab"):
        predictor.embed_text("red")


def test_unreadable_videos_are_one_error_that_names_them_all(predictor: Predictor, videos: list[Path], tmp_path: Path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    gone = tmp_path / "gone.mp4"
    with pytest.raises(VideoError) as caught:
        predictor.embed_video([broken, *videos, gone])
    assert str(broken) in str(caught.value)
    assert str(gone) in str(caught.value)


def test_what_can_be_read_is_kept_where_that_is_allowed(predictor: Predictor, videos: list[Path], tmp_path: Path):
    broken, gone = tmp_path / "broken.mp4", tmp_path / "gone.mp4"
    broken.write_bytes(b"no video")
    frames = read_frames(videos[5], times_sec=[0.0, 0.3, 0.6]).frames
    mixed = [broken, *videos[:3], frames, gone, videos[3]]
    wanted = predictor.embed_video([*videos[:3], frames, videos[3]])
    found = predictor.embed_video(mixed, allow_missing=True)
    assert close(found.vectors, wanted)
    assert found.kept == [1, 2, 3, 4, 6]
    assert sorted(found.skipped) == [0, 5]
    assert str(broken) in found.skipped[0]
    probs, kept, skipped = predictor.match(mixed, TEXTS, allow_missing=True)
    assert (probs.shape, kept, sorted(skipped)) == ((5, len(TEXTS)), found.kept, [0, 5])
    vectors, kept, skipped = predictor.embed_video([gone], allow_missing=True)
    assert (vectors.shape, kept, list(skipped)) == ((0, CONFIG.shared_dim), [], [0])
    with pytest.raises(VideoError) as caught:  # of one video there is nothing to keep
        predictor.answer(gone, "what?")
    assert str(caught.value).startswith(str(gone))


def test_many_videos_are_matched_with_many_texts(predictor: Predictor, videos: list[Path]):
    table = predictor.match(videos, TEXTS)
    assert table.shape == (len(videos), len(TEXTS))
    for video, row in zip(videos, table, strict=True):
        assert close(predictor.match(video, TEXTS), row)
    assert predictor.match(videos[:1], TEXTS[0]).shape == (1, 1)
    assert predictor.match(videos[0], TEXTS[0]).shape == (1,)
    assert predictor.match([], TEXTS).shape == (0, len(TEXTS))


def test_arrays_and_pictures_work_wherever_tensors_do(predictor: Predictor):
    pixels = tiny_frames(3)
    clip = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    wanted = predictor.embed_video(clip)
    pictures = [Image.fromarray(frame) for frame in pixels]
    for frames in (pixels, pixels.transpose(0, 3, 1, 2), [list(pixels)], [pictures], pixels[None], [clip]):
        assert close(predictor.embed_video(frames), wanted)
    assert close(predictor.match(pixels, TEXTS), predictor.match(clip, TEXTS))
    for frames in (pixels, pictures):
        assert predictor.answer(frames, "what?") == predictor.answer(clip, "what?")
        assert close(predictor.choose(frames, "which?", TEXTS), predictor.choose(clip, "which?", TEXTS))
        assert close(predictor.classify(frames, TEXTS), predictor.classify(clip, TEXTS))
    assert predictor.embed_video(pictures).shape[0] == len(pictures)  # a list is several videos: stills
    with pytest.raises(ValueError, match=r"uint8 \[T, H, W, 3\] or \[T, 3, H, W\], got float64"):
        predictor.match(pixels / 255, TEXTS)


def test_objects_tell_what_they_are(predictor: Predictor):
    assert repr(predictor) == (
        "Predictor(tiny-0: width 32, depth 2, clips of 4 frames of 32 pixels, texts of up to 40 tokens, heads "
        "contrastive, matching, answer; float32 on cpu)"
    )
    shown = pydoc.plain(pydoc.render_doc(Predictor.embed_video))
    assert "videos: Sources" in shown
    assert "PosixPath" not in shown
    assert "pathlib" not in shown
    legend = (inspect.getdoc(Predictor) or "").partition("Letters of shapes:")[2]
    assert set("GKVTCHWQOEAMX") <= set(legend.split())


def test_the_package_shows_its_public_names():
    public = "assert set(allinone.__all__) == {n for n in dir(allinone) if n[0] != '_'}"
    code = f"import sys, allinone; {public}; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert all(getattr(allinone, name).__name__ == name for name in allinone.__all__)
    shown = pydoc.plain(pydoc.render_doc(allinone))
    assert "class Predictor" in shown
    assert "load(source: " in shown
    with pytest.raises(AttributeError, match="no attribute 'Predicter'"):
        allinone.Predicter  # noqa: B018


def test_wrong_frames_and_options_are_refused(predictor: Predictor, videos: list[Path]):
    with pytest.raises(ValueError, match=r"uint8 \[T, 3, H, W\], got float32 \[4, 3, 32, 32\]"):
        predictor.embed_video(torch.zeros(4, 3, 32, 32))
    with pytest.raises(ValueError, match=r"got uint8 \[4, 32, 32, 3\]"):
        predictor.embed_video(torch.zeros(4, 32, 32, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match="at least one text"):
        predictor.choose(videos[0], "which?", [])
    with pytest.raises(ValueError, match="squares of 16 pixels, but the model takes 32"):
        predictor.using(replace(predictor.data, transform=Transform.Config(resize=16, crop=16)))


def test_what_is_no_video_text_view_or_device_is_one_error(predictor: Predictor, videos: list[Path]):
    for no_list in (io.BytesIO(b"abc"), bytearray(b"abc"), memoryview(b"abc")):
        assert inspect.unwrap(is_one)(no_list)  # without the checker of types, as users call it
        with pytest.raises(TypeError, match=f"a video is a file, .*; got {type(no_list).__name__}"):
            inspect.unwrap(to_tensor)(no_list)
    for num_views in (0, -1):
        with pytest.raises(ValueError, match=f"num_views must be at least 1, got {num_views}"):
            predictor.embed_video(videos[0], num_views=num_views)
    for text in ("a \ud800", "caf\udce9"):  # of JSON; of a command line that is no UTF-8
        for read in (predictor.embed_text, predictor.notes):
            with pytest.raises(ValueError, match="expected a text, got one with halves of characters"):
                read([text])
    for device in ("tpux", "cuda:99"):
        with pytest.raises(ValueError, match=device):
            choose_device(device)


def test_texts_are_read_to_the_models_own_length_and_a_cut_is_told_once(caplog: pytest.LogCaptureFixture):
    long = [f"{'the ball moves to the left ' * 12}{end}" for end in ("red", "green")]  # 75 tokens
    for max_text_len, are_cut in ((80, False), (40, True)):
        caplog.clear()
        predictor = Predictor(AllInOne.build(CONFIG.replace(max_text_len=max_text_len), HEADS), tiny_tokenizer())
        one, other = predictor.embed_text(long)
        assert torch.equal(one, other) == are_cut
        predictor.embed_text(long)
        told = "2 of 2 texts, of up to 75 tokens, cut to 40, all that this model reads (its max_text_len)"
        assert caplog.messages == [told] * are_cut
    caplog.clear()
    predictor.using(predictor.data).match(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), long[0])
    assert caplog.messages == ["text of 75 tokens cut to 40, all that this model reads (its max_text_len)"]
    caplog.clear()
    predictor.using(replace(predictor.data, control="blind")).embed_text(long)  # the real score has told it
    assert not caplog.messages


def test_weights_are_packed_once(predictor: Predictor, videos: list[Path], monkeypatch: pytest.MonkeyPatch):
    fast = tiny_predictor(precision="bfloat16")
    monkeypatch.setattr("allinone.scoring.pack", lambda encoder: pytest.fail("packed again"))
    other = fast.using(replace(fast.data, batch_size=2, control="single_frame"))
    assert other.encoder is fast.encoder
    assert (other.data.batch_size, fast.data.batch_size) == (2, 4)
    assert not torch.equal(other.embed_video(videos), fast.embed_video(videos))


def test_progress_is_told_to_the_caller(predictor: Predictor, videos: list[Path]):
    told = []
    clip = read_frames(videos[0], indices=[0])
    predictor.embed_video([*videos, clip], on_progress=lambda *args: told.append(args))
    assert told == [("clips", 4, 7), ("clips", 6, 7), ("clips", 7, 7)]
    told.clear()
    predictor.embed_text(TEXTS, on_progress=lambda *args: told.append(args))
    assert told == [("texts", 4, 5), ("texts", 5, 5)]


def test_bfloat16_is_close_and_still_float32_of_unit_length(predictor: Predictor, videos: list[Path]):
    fast = tiny_predictor(precision="bfloat16")
    vectors = fast.embed_video(videos)
    assert vectors.dtype == torch.float32
    assert close(vectors.norm(dim=1), torch.ones(len(videos)))
    wanted = predictor.embed_video(videos)
    assert not torch.equal(vectors, wanted)
    assert close(vectors, wanted, 0.1)


def test_training_mode_and_random_transforms_are_left_behind():
    model = AllInOne.build(CONFIG.replace(dropout=0.5, patch_order="random"), HEADS).train()
    data = replace(tiny_predictor().data, transform=Transform.Config(resize=40, crop=32, random_crop=True, flip_prob=1))
    predictor = Predictor(model, data=data)
    frames = torch.randint(256, (1, 4, 3, 48, 64), dtype=torch.uint8)
    assert torch.equal(predictor.embed_video(frames), predictor.embed_video(frames))


def test_works_under_inference_mode(predictor: Predictor, videos: list[Path]):
    with torch.inference_mode():
        inside = predictor.match(videos[0], TEXTS)
    assert close(inside, predictor.match(videos[0], TEXTS))


def test_a_checkpoint_folder_gives_the_same_results(predictor: Predictor, videos: list[Path], tmp_path: Path):
    experiment = {"data": {"transform": {"resize": 48, "crop": 32}}}
    save_checkpoint(tmp_path / "mine", predictor.model, predictor.tokenizer, experiment)
    loaded = load(tmp_path / "mine", device="cpu")
    assert loaded.data.transform == Transform.Config(resize=48, crop=32)
    assert loaded.name == str(tmp_path / "mine")
    same = loaded.using(replace(loaded.data, transform=predictor.data.transform))
    assert close(same.embed_video(videos), predictor.embed_video(videos))
    assert close(same.embed_text(TEXTS), predictor.embed_text(TEXTS))
    assert same.answer(videos[0], "red") == predictor.answer(videos[0], "red")
    assert load(tmp_path / "mine", num_frames=6, device="cpu").embed_video(videos[0]).shape == (1, CONFIG.shared_dim)
    (tmp_path / "mine" / "experiment.json").write_text(json.dumps({"data": None}))
    assert load(tmp_path / "mine", device="cpu").data.transform == Transform.Config(resize=38, crop=32)


@pytest.mark.parametrize("resize", [10**9, 8, 48.0, "48", [48], True])
def test_a_size_of_the_run_that_makes_no_sense_is_an_error_that_names_file_and_key(
    predictor: Predictor, tmp_path: Path, resize: object
):
    experiment = {"data": {"transform": {"resize": resize}}}
    save_checkpoint(tmp_path / "mine", predictor.model, predictor.tokenizer, experiment)
    with pytest.raises(ValueError, match=r"mine: experiment\.json: data\.transform\.resize: expected a whole number"):
        load(tmp_path / "mine", device="cpu")


@pytest.mark.parametrize(("name", "value"), [("norm.weight", torch.nan), ("blocks.0.mlp.fc2.bias", torch.inf)])
def test_outputs_that_are_not_finite_are_an_error_that_names_the_weights(videos: list[Path], name: str, value: float):
    predictor = tiny_predictor(heads={"matching": MatchingHead.Config(), "contrastive": ContrastiveHead.Config()})
    with torch.no_grad():
        predictor.model.encoder.get_parameter(name)[0] = value
    for call in (
        lambda: predictor.embed_video(videos[:1]),
        lambda: predictor.match(videos[0], ["red"]),
        lambda: predictor.classify(videos[0], ["red", "blue"]),
    ):
        with pytest.raises(ValueError, match=rf"NaN or infinite numbers in encoder\.{name}"):
            call()


def test_outputs_that_overflow_are_an_error(videos: list[Path]):
    predictor = tiny_predictor(heads={"matching": MatchingHead.Config()})
    with torch.no_grad():
        predictor.model.require(MatchingHead).linear.weight[:] = 3e38
    with pytest.raises(
        ValueError, match="the model's output is NaN or infinite in float32, though its weights are not"
    ):
        predictor.match(videos[0], ["red"])


# Look inside


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@torch.no_grad()
def test_features_of_any_block_are_those_of_the_plain_encoder(videos: list[Path], precision: Precision):
    predictor = tiny_predictor(precision=precision, batch_size=2)
    encoder, texts = predictor.model.encoder, TEXTS[:3]
    first, last = predictor.features(videos[:3], texts, layers=[0, -1], attention=True)
    frames = torch.cat([clips for _, clips in predictor.clips(videos[:3])])[:, 0]
    ids, mask = pad(predictor.tokenize(texts), predictor.tokenizer.pad_id)  # pyright: ignore[reportOptionalMemberAccess]
    joint = encoder(frames, ids, mask)
    assert close(encoder.norm(last.tokens).mean(dim=1), torch.cat([joint.text, joint.video], dim=1))
    assert first.attention is not None
    assert first.attention.shape == (3, 4, 2, *[ids.shape[1] + 17] * 2)
    [video] = predictor.features(videos[0])
    assert close(encoder.norm(video.tokens).mean(dim=1), encoder.encode_video(frames[:1]))
    [text] = predictor.features(text=texts)
    assert close(encoder.norm(text.tokens).mean(dim=1), encoder.encode_text(ids, mask))
    assert not text.tokens.is_inference()  # so that a probe can be trained on them


def test_features_need_a_text_for_each_video(predictor: Predictor, videos: list[Path]):
    with pytest.raises(ValueError, match="2 videos and 3 texts; wanted one text for each video"):
        predictor.features(videos[:2], TEXTS[:3])
    with pytest.raises(ValueError, match="features of an empty list"):
        predictor.features(video=[])
    with pytest.raises(ValueError, match="features of an empty list"):
        predictor.features(text=[])
