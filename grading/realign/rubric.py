"""Rubrics: a strong model reads expert traces beside the proxy's and writes a grading prompt (paper, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

from grading.errors import ConfigurationError
from grading.models.base import LanguageModel
from grading.realign.examples import Example, write_examples
from grading.tags import blocks
from grading.types import Completion, Message, Sampling, TraceFormat

PLACE = "{EXAMPLES}"
TAG = "grading_prompt"  # what the rubric-writing prompts ask to have the written prompt in


async def ask_writer(
    writer: LanguageModel, rubric_prompt: str, examples: Sequence[Example], fmt: TraceFormat, *, max_tokens: int, seed: int
) -> Completion:
    """What `writer` answers to `rubric_prompt` with the examples in the place of its {EXAMPLES}. `max_tokens` include what it thinks first.

    Raises `ConfigurationError` where there is no such place, and what the model raises.
    """
    if PLACE not in rubric_prompt:
        raise ConfigurationError(f"the rubric-writing prompt has no {PLACE}: put it where the texts with their traces belong")
    asked = rubric_prompt.replace(PLACE, write_examples(examples, rubric_prompt, fmt))
    ((answer,),) = await writer.generate([[Message("user", asked)]], Sampling(max_tokens=max_tokens), seed=seed)
    return answer


def read_written(answer: Completion, grading_prompt: str, fmt: TraceFormat) -> tuple[str, str]:
    """The grading prompt in a writer's answer (its last <grading_prompt> block), and what is wrong with it; "" where nothing is."""
    if answer.failure:
        return "", f"The writer gave no answer: {answer.failure}."
    written = next((words for block in reversed(blocks(answer.text, TAG)) if (words := block.strip())), "")
    if not written:
        return "", f"The writer gave no <{TAG}>." if answer.finished else f"The writer ran out of tokens before it closed a <{TAG}>."
    return written, lacking(written, grading_prompt, fmt)


def lacking(written: str, grading_prompt: str, fmt: TraceFormat) -> str:
    """What a grading prompt that was written, by a model or a person, lacks; "" where it lacks nothing.

    Of the placeholders and the tags of `fmt` it needs those that the domain's own `grading_prompt` has: a grader that is not shown the text, or not
    told how to answer, gives no score.
    """
    needed = ("{INSTRUCTIONS}", "{CONTENT}", *(f"<{tag}>" for tag in fmt.tags))
    missing = [mark for mark in needed if mark in grading_prompt and mark not in written]
    return f"The written prompt lacks {', '.join(missing)}." if missing else ""
