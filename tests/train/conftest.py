import pytest

from train.tiny_run import MODEL


@pytest.fixture
def tiny_model():
    return MODEL
