import pytest

from allinone.model import AllInOne
from allinone.model.config import BASE, NANO, SMALL, SMALL_DISTILLED, TINY


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"num_heads": 5}, "does not divide into 5 heads"),
        ({"image_size": 65}, "no multiple of patch_size"),
        ({"depth": 0}, "depth must be at least 1"),
        ({"distilled": True, "text_time": True}, "text_time needs the temporal embedding"),
        ({"dropout": 1.0}, "dropout must be in"),
        ({"image_std": (1.0, 0.0, 1.0)}, "image_std must be positive"),
        ({"time": "rolling"}, r"time must be the Config of a way of time \(rolling, none"),
    ],
)
def test_wrong_combinations_fail_with_a_sentence(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        NANO.replace(**changes)


@pytest.mark.parametrize(("config", "millions"), [(TINY, 11.43), (SMALL_DISTILLED, 33.55), (BASE, 109.9)])
def test_sizes_are_those_of_the_paper(config, millions):
    """Without heads: the published number of parameters."""
    import torch

    with torch.device("meta"):
        model = AllInOne.build(config)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, rel=0.005)


def test_small_without_the_distillation_token_is_a_model_of_its_own():
    assert SMALL.num_special == 1
    assert SMALL_DISTILLED.num_special == 2
