"""650 tasks, split once and for all."""

from training.pocket.language import OBJECTS, PLACES, prompts
from training.pocket.prompts import DOMAIN


def test_there_are_500_tasks_to_train_on_and_150_held_out():
    assert len(OBJECTS) * len(PLACES) == 26 * 25 == len(prompts()) == 650
    assert sum(p.split == "train" for p in prompts()) == 500
    assert sum(p.split == "eval" for p in prompts()) == 150


def test_no_task_is_in_both_splits():
    assert len({p.instructions for p in prompts()}) == 650


def test_every_word_of_the_held_out_tasks_is_learned_in_others():
    train, held_out = ([p for p in prompts() if p.split == s] for s in ("train", "eval"))
    assert {p.object for p in held_out} <= {p.object for p in train}
    assert {p.place for p in held_out} <= {p.place for p in train}


def test_the_split_is_the_one_that_the_shipped_base_was_trained_on():
    assert [p.instructions for p in prompts() if p.split == "eval"][:3] == [
        "Write a short story about a clock and a library.",
        "Write a short story about a teapot and a garden.",
        "Write a short story about a spoon and a forest.",
    ]


def test_a_task_reads_as_the_generation_prompt_of_the_domain():
    p = prompts()[0]
    assert DOMAIN.generation_prompt.replace("{OBJECT}", p.object).replace("{PLACE}", p.place) == p.instructions
