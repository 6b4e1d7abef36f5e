"""The released weights give the same numbers: `benchmarks/parity.py` on the fixtures."""

from pathlib import Path

import pytest
import torch
from parity import Fixture, compare, left_out
from reference import Reference

from allinone.model.packed import pack
from real import SHARED, needs_parity

SMALL = Path(__file__).parents[1] / "data" / "parity_small"


both = pytest.mark.parametrize("folder", [SMALL, pytest.param(SHARED / "parity" / "distilled", marks=needs_parity)])


@both
def test_every_output_of_the_released_model_is_within_tolerance(folder):
    fixture = Fixture(folder)
    comparisons = list(compare(fixture))
    assert [str(c) for c in comparisons if not c.within] == []
    compared = {c.name for c in comparisons}
    assert {name for name in fixture.expected if not left_out(name)} <= compared


def test_the_plain_reference_of_the_benchmark_gives_the_released_outputs_too():
    fixture = Fixture(SMALL)
    reference, frames, (ids, mask) = Reference(fixture.model.eval()), fixture.inputs["image"], fixture.text()
    with torch.inference_mode():
        text, video = reference.joint(frames, ids, mask, fixture.raster)
        outputs = {
            "joint.text_feats": text,
            "joint.image_feats": video,
            "joint.cls_feats": reference.pool(text),
            "text_only.feats": reference.text(ids, mask, frames.shape[1]),
            "video_only.feats": reference.video(frames),
            "ot.distance": reference.transport(text, video[:, 1:], mask),
        }
    for name, output in outputs.items():
        assert torch.allclose(output, fixture.expected[name], atol=2e-5), name


@both
def test_weights_packed_in_bfloat16_give_them_but_for_rounding(folder):
    fixture = Fixture(folder)
    encoder, frames, (ids, mask) = pack(fixture.model.eval().encoder), fixture.inputs["image"], fixture.text()
    with torch.inference_mode():
        joint = encoder(frames, ids, mask, patch_order=fixture.raster)
        outputs = {
            "joint.text_feats": joint.text,
            "joint.image_feats": joint.video,
            "joint.cls_feats": encoder.pool(joint.text),
            "text_only.feats": encoder.encode_text(ids, mask),
            "video_only.feats": encoder.encode_video(frames),
        }
    for name, output in outputs.items():
        assert torch.cosine_similarity(output, fixture.expected[name], dim=-1).min() > 0.999, name
