"""The pocket language and its expert load neither Django nor torch."""

import subprocess
import sys

import pytest


def test_the_expert_and_the_domain_need_neither_django_nor_torch():
    code = "import sys, training.pocket.expert, training.pocket.writer; print(sorted({'django', 'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.slow
def test_training_the_base_needs_torch_and_transformers_only():
    others = {"django", "trl", "peft", "datasets", "openai", "anthropic"}
    code = f"import sys, training.pocket.pretrain, training.pocket.evaluate; print(sorted({others} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
