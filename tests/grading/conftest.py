from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# No deadline for single examples: on a busy machine it would fail tests that are right.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A checkpoint of a random model, with its tokenizer. One thread: others want the machine too."""
    import torch

    from tests.grading.tiny import save_tiny_model

    torch.set_num_threads(1)
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))
