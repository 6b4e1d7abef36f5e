import importlib
import pkgutil

import pytest

from allinone import datasets
from allinone.datasets.base import Card

MODULES = [
    importlib.import_module(f"allinone.datasets.{found.name}") for found in pkgutil.iter_modules(datasets.__path__)
]
CARDS = {module.__name__.rpartition(".")[2]: module.CARD for module in MODULES if hasattr(module, "CARD")}
READINGS = [(name, asks) for name, card in CARDS.items() for asks, reading in card.tasks.items() if reading.splits]


@pytest.mark.parametrize("name", CARDS)
def test_a_card_says_what_one_wants_to_know_before_downloading(name):
    card = CARDS[name]
    assert isinstance(card, Card)
    assert all((card.title, card.license, card.get, card.metric, card.tasks))
    assert (importlib.import_module(f"allinone.datasets.{name}").__doc__ or "").count("\n") > 5


@pytest.mark.parametrize(("name", "asks"), READINGS)
def test_every_split_has_a_published_size_and_no_other_split_is_accepted(name, asks):
    reading = CARDS[name].tasks[asks]
    for split, size in reading.splits.items():
        assert reading.reader(split=split).published == size
    with pytest.raises(ValueError, match="no split 'none'") as error:
        reading.reader(split="none")
    assert all(split in str(error.value) for split in reading.splits)
