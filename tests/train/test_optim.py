import json
from pathlib import Path

import pytest
import torch

from allinone.model.heads import ContrastiveHead
from allinone.model.model import AllInOne
from allinone.model.released import convert_released, released_name
from allinone.model.weight_files import read_tensors
from allinone.train.optim import Optim, parameter_groups
from real import SHARED, needs_parity

SMALL = Path(__file__).parents[1] / "data" / "parity_small"
RESHAPED = {
    "text_embeddings.token_type_embeddings.weight": "encoder.text.token_type",
    "token_type_embeddings.weight": "encoder.modality",
    "transformer.cls_token": "encoder.vision.special",
    "transformer.dist_token": "encoder.vision.special",
    "transformer.pos_embed": "encoder.vision.position",
    "transformer.temporal_embed": "encoder.vision.time",
}


@pytest.fixture(
    params=[
        SMALL,
        pytest.param(SHARED / "parity" / "small", marks=needs_parity),
        pytest.param(SHARED / "parity" / "distilled", marks=needs_parity),
    ],
    ids=lambda folder: f"{folder.parent.name}-{folder.name}",
)
def fixture_folder(request) -> Path:
    return request.param


def test_the_groups_are_those_of_the_released_code(fixture_folder):
    released = json.loads((fixture_folder / "optim.json").read_text())
    model, _ = convert_released(read_tensors(fixture_folder / "checkpoint.ckpt"), num_heads=4)
    own = set(dict(model.named_parameters()))
    wanted = {}
    for group in released["groups"]:
        names = {RESHAPED.get(name) or released_name(name) for name in group["names"] if "vcop" not in name}
        wanted[group["lr"], group["weight_decay"]] = names & own  # a distilled model never reads the temporal embedding
    config = Optim.Config(num_steps=200, lr=released["base_lr"])
    groups = parameter_groups(model.named_parameters(), config)
    assert {(g["lr"], g["weight_decay"]): set(g["names"]) for g in groups} == wanted
    assert set.union(*wanted.values()) == own
    assert (list(config.betas), config.eps) == (released["betas"], released["eps"])


def test_the_learning_rate_is_that_of_the_released_code(fixture_folder):
    released = json.loads((fixture_folder / "optim.json").read_text())
    config = Optim.Config(
        num_steps=released["max_steps"],
        lr=released["base_lr"],
        warmup=released["warmup_steps"],
        end_lr=float(released["end_lr"]),
        power=float(released["decay_power"]),
    )
    rates = [config.learning_rate(step) for step in range(len(released["lr_at_step"]))]
    assert rates == pytest.approx(released["lr_at_step"], rel=1e-9, abs=1e-18)


def test_a_warm_up_may_be_a_share_of_the_steps():
    assert Optim.Config(num_steps=200, warmup=0.1).num_warmup == 20
    assert Optim.Config(num_steps=200, warmup=1).num_warmup == 1
    assert Optim.Config(num_steps=200, warmup=0).learning_rate(0) == 1e-4


def test_a_constant_rate_stays_and_a_cosine_ends_at_end_lr():
    constant = Optim.Config(num_steps=10, warmup=2, schedule="constant")
    assert [constant.learning_rate(step) for step in (1, 2, 9, 10)] == pytest.approx([5e-5, 1e-4, 1e-4, 1e-4])
    cosine = Optim.Config(num_steps=10, warmup=0, schedule="cosine", end_lr=2e-5)
    assert [cosine.learning_rate(step) for step in (0, 5, 10, 99)] == pytest.approx([1e-4, 6e-5, 2e-5, 2e-5])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_steps": 0}, "num_steps"),
        ({"lr": 0.0}, "lr must be positive"),
        ({"lr": float("nan")}, "lr must be positive"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"betas": (0.9, 1.0)}, "betas"),
        ({"end_lr": 1.0}, "end_lr"),
        ({"warmup": 2.5}, "number of steps or a fraction"),
        ({"warmup": 10}, "leaves none of 10"),
    ],
)
def test_a_config_that_cannot_work_says_so(wrong, message):
    with pytest.raises(ValueError, match=message):
        Optim.Config(**{"num_steps": 10} | wrong)


def test_a_learned_temperature_does_not_decay(tiny_model):
    model = AllInOne.build(tiny_model, {"contrastive": ContrastiveHead.Config(learn_temperature=True)})
    still = [
        g["names"]
        for g in parameter_groups(model.named_parameters(), Optim.Config(num_steps=10))
        if not g["weight_decay"]
    ]
    assert "heads.contrastive.log_scale" in still[0]


def test_the_state_goes_on_where_it_was():
    def make() -> tuple[torch.nn.Linear, Optim]:
        torch.manual_seed(0)
        layer = torch.nn.Linear(3, 2)
        return layer, Optim(Optim.Config(num_steps=10, warmup=0), layer.named_parameters())

    def update(layer: torch.nn.Linear, optim: Optim, step: int) -> None:
        layer(torch.full((1, 3), step + 1.0)).sum().backward()
        optim.step(step)
        optim.zero_grad()

    one, one_optim = make()
    for step in range(4):
        update(one, one_optim, step)
    two, two_optim = make()
    for step in range(2):
        update(two, two_optim, step)
    three, three_optim = make()
    three.load_state_dict(two.state_dict())
    three_optim.load_tensors({name: tensor.clone() for name, tensor in two_optim.tensors().items()})
    for step in range(2, 4):
        update(three, three_optim, step)
    assert torch.equal(one.weight, three.weight)
    assert sorted(two_optim.tensors()) == [
        f"{k}.{n}" for k in ("exp_avg", "exp_avg_sq", "step") for n in ("bias", "weight")
    ]


def test_a_state_of_another_model_is_refused():
    optim = Optim(Optim.Config(num_steps=10), torch.nn.Linear(3, 2).named_parameters())
    with pytest.raises(ValueError, match=r"another model: it has encoder\.norm"):
        optim.load_tensors({"exp_avg.encoder.norm": torch.zeros(3)})
