"""What a model in this process makes of earlier turns and of a turn that was begun; and that nothing heavy is loaded before it is asked."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from grading.errors import ConfigurationError
from grading.models.scripted import ScriptedModel
from grading.models.transformers import TransformersModel, encode, load
from grading.testing import ask, generate
from grading.types import Message, Sampling, Usage

BEGUN = [Message("user", "a"), Message("assistant", "b"), Message("user", "c"), Message("assistant", "<critique>It ")]


def test_a_turn_that_was_begun_is_left_open(tiny_model):
    loaded = load(str(tiny_model), "cpu", None)
    (tokens,) = encode(loaded, [BEGUN])
    text = loaded.tokenizer.decode(tokens)
    assert text.startswith("<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n")
    assert text.rstrip().endswith("<|im_start|>assistant\n<critique>It")


def test_a_turn_begun_without_words_is_yet_to_begin(tiny_model):
    loaded = load(str(tiny_model), "cpu", None)
    assert encode(loaded, [[*ask("a")[0], Message("assistant", " ")]]) == encode(loaded, ask("a"))


def test_the_completion_goes_on_from_there(tiny_model):
    model = TransformersModel(tiny_model)
    ((begun,),) = generate(model, [BEGUN], Sampling(0.0, 8))
    ((alone,),) = generate(model, [BEGUN[:-1]], Sampling(0.0, 8))
    assert begun.usage.input_tokens > alone.usage.input_tokens
    assert begun.text != alone.text


def test_a_template_that_rewrites_the_last_turn_is_named(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "m")
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").write_text(template.replace("m['content']", "m['content'] | upper"))
    with pytest.raises(ConfigurationError, match="chat template"):
        generate(TransformersModel(folder), [BEGUN], Sampling(0.0, 4))


def test_a_script_sees_every_turn():
    seen = []

    def script(messages, seed):
        seen.append([message.role for message in messages])
        return "good</critique>"

    ((completion,),) = asyncio.run(ScriptedModel(script).generate([BEGUN], Sampling(), seed=1))
    assert seen == [["user", "assistant", "user", "assistant"]]
    assert (completion.text, completion.stop) == ("good</critique>", "end")


def test_usage_adds_up_by_kind():
    assert Usage(1, 2, 3, 4) + Usage(10, 20, 30, 40) == Usage(11, 22, 33, 44)
    assert Usage(1, 2, 3, 4).read_tokens == 8  # 1 + 3 + 4
    assert Usage(1, 2) == Usage(1, 2, 0, 0)


def test_no_client_is_loaded_before_a_model_is_asked(monkeypatch):
    code = (
        "import sys\n"
        "sys.modules['django'] = None\n"
        "import grading.testing, grading.graders, grading.models.openai, grading.models.anthropic\n"
        "grading.models.openai.OpenAIModel('http://127.0.0.1:9/v1', 'm')\n"
        "print([name for name in ('openai', 'anthropic', 'httpx2', 'torch', 'transformers', 'pytest') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
