import importlib
import pkgutil

import pytest

from allinone import datasets
from allinone.datasets.base import Card

MODULES = [
    importlib.import_module(f"allinone.datasets.{found.name}") for found in pkgutil.iter_modules(datasets.__path__)
]
CARDS = {module.__name__.rpartition(".")[2]: module.CARD for module in MODULES if hasattr(module, "CARD")}
TASKS = [
    (name, name_of_task) for name, card in CARDS.items() for name_of_task, task in card.tasks.items() if task.splits
]


@pytest.mark.parametrize("name", CARDS)
def test_a_card_has_license_source_metric_and_tasks(name):
    card = CARDS[name]
    assert isinstance(card, Card)
    assert all((card.title, card.license, card.get, card.metric, card.tasks))
    page = importlib.import_module(f"allinone.datasets.{name}").__doc__ or ""
    assert page.count("\n") > 5
    sizes = {n for task in card.tasks.values() for size in task.splits.values() for n in (size.records, size.videos)}
    assert not [n for n in sizes if n and n >= 10_000 and f"{n:,}" in page]  # a fact once: sizes are in `splits`


def test_a_card_is_read_from_a_docstring():
    card = Card.of("A set (Me et al., 2020).\n\nLicense: free,\nbut ask.\nGet: here.\n\nMore.\n\nScored by: accuracy.")
    assert (card.title, card.license, card.get, card.metric) == ("A set", "free, but ask", "here", "accuracy")


def test_a_card_without_a_license_is_an_error():
    with pytest.raises(ValueError, match="a card needs lines that begin with License"):
        Card.of("A set\n\nGet: here.\nScored by: accuracy.")


@pytest.mark.parametrize(("name", "name_of_task"), TASKS)
def test_every_split_has_a_published_size_and_no_other_split_is_accepted(name, name_of_task):
    task = CARDS[name].tasks[name_of_task]
    for split, size in task.splits.items():
        assert task.reader(split=split).published == size
    with pytest.raises(ValueError, match="no split 'none'") as error:
        task.reader(split="none")
    assert all(split in str(error.value) for split in task.splits)
