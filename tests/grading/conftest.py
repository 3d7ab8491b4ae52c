from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from grading import limits
from grading.limits import LocalMeter
from tests.grading.servers import vllm

# No deadline for single examples: on a busy machine it would fail tests that are right.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture
def meter(request) -> Iterator[LocalMeter]:
    """What all limiters of this process count by; its window in seconds may be a parameter."""
    meter = LocalMeter(window=getattr(request, "param", limits.WINDOW))
    before = limits.share(meter)
    yield meter
    limits.share(before)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A checkpoint of a random model, with its tokenizer. One thread: others want the machine too."""
    import torch

    from tests.grading.tiny import save_tiny_model

    torch.set_num_threads(1)
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def vllm_server(tmp_path_factory) -> Iterator[vllm.VLLM]:
    """A real vLLM that serves the pocket base and takes LoRA adapters at run time: one for all tests, since it takes minutes to start."""
    with vllm.running(vllm.BASE, tmp_path_factory.mktemp("vllm"), *vllm.LORA) as server:
        yield server


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    report = yield
    server = getattr(item, "funcargs", {}).get("vllm_server")
    if report.failed and server is not None:
        report.sections.append(("vLLM's log", server.tail()))
    return report
