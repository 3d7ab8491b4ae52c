"""Any text comes back exactly, digits stay single, and the language's words are single tokens."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from grading.types import Case
from training.pocket.expert import PocketExpert
from training.pocket.language import prompts, write_story
from training.pocket.tokenizer import make_tokenizer

TOKENIZER = make_tokenizer()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back(text):
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


@pytest.mark.parametrize(
    "text", ["a  b", "\n\n x\t", "don't, 3.14!", "naïve 😀 ,.", "<critique>1</critique>", "<|im_end|>", " <score> ", "Café №5\r\n"]
)
def test_awkward_texts_come_back(text):
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


@given(st.integers(0, 10**6))
def test_each_digit_is_a_token(number):
    assert len(TOKENIZER.encode(str(number))) == len(TOKENIZER.encode(f" {number}")) == len(str(number))


@pytest.mark.parametrize("tag", ["<critique>", "</critique>", "<deliberation>", "</deliberation>", "<score>", "</score>"])
def test_each_tag_is_one_token_that_is_no_special_token(tag):
    assert len(TOKENIZER.encode(tag)) == 1
    assert TOKENIZER.decode(TOKENIZER.encode(tag), skip_special_tokens=True) == tag


def test_stories_cost_a_token_a_word_and_traces_fit_75():
    rng = random.Random(0)
    for task in prompts()[:100]:
        story = write_story(rng, task.object, task.place, rng.random())
        assert len(TOKENIZER.encode(story)) == len(story.replace(",", " ,").replace(".", " .").split())
        assert len(TOKENIZER.encode(PocketExpert().verdict(Case(task.instructions, story)).raw)) <= 75


def test_it_is_the_same_each_time_it_is_learned(tmp_path):
    assert make_tokenizer().get_vocab() == TOKENIZER.get_vocab()
    TOKENIZER.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.get_vocab() == TOKENIZER.get_vocab()
    assert (loaded.eos_token, loaded.pad_token, loaded.padding_side) == ("<|im_end|>", "<|endoftext|>", "left")


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_the_tokens_of_a_prompt_begin_the_tokens_of_its_conversation(asked, answered):
    user = [{"role": "user", "content": asked}]
    prompt = TOKENIZER.apply_chat_template(user, add_generation_prompt=True, return_dict=False)
    whole = TOKENIZER.apply_chat_template([*user, {"role": "assistant", "content": answered}], return_dict=False)
    assert whole[: len(prompt)] == prompt
    assert whole[-1] == TOKENIZER.eos_token_id


def test_the_chat_template_writes_chatml():
    turns = [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "U"},
        {"role": "assistant", "content": "A"},
        {"role": "user", "content": "V"},
    ]
    written = TOKENIZER.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert written == (
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n<|im_start|>user\nV<|im_end|>\n<|im_start|>assistant\n"
    )
