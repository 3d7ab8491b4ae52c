"""The pocket's reflection model asks for what the critiques miss most, in words that leave the placeholders alone."""

import pytest
from gepa.strategies.instruction_proposal import InstructionProposalSignature as Gepa

from grading.types import Case, Message
from training.engine.reflective import reflection_template, refusal
from training.pocket.expert import CRITERIA, PocketExpert
from training.pocket.prompts import GENERATION_PROMPT
from training.pocket.reflect import ADVICE, reflect

TASK = "Write a short story about a key and a tower."
GOOD = (
    "At the tower, Ivy kept a key in a box. But the key slipped from her hand and was gone. Ivy searched the tower from end to end. "
    "There lay the key, safe beneath a leaf. To this day the key hangs above her door."
)
STUFFED = GOOD.replace("key", "small old golden key")
CLICHE = "Time stood still."


def proposal(*stories, prompt=GENERATION_PROMPT, rubric="hidden"):
    """What GEPA makes of the program's answer to the expert's critiques of these stories."""
    expert = PocketExpert(rubric, noise=False)
    examples = [{"Text": story, "Feedback": expert.verdict(Case(TASK, story)).critique} for story in stories]
    asked = {"current_instruction_doc": prompt, "dataset_with_feedback": examples}
    text = Gepa.prompt_renderer(asked | {"prompt_template": reflection_template(GENERATION_PROMPT)})
    return Gepa.output_extractor(reflect([Message("user", text)], 0))["new_instruction"]


def test_it_asks_for_the_fault_that_is_found_most_often():
    assert proposal(STUFFED, STUFFED, GOOD.replace("tower", "barn")) == f"{GENERATION_PROMPT} Use few adjectives."


def test_what_is_asked_for_already_makes_room_for_the_next_fault():
    asked = f"{GENERATION_PROMPT} Use few adjectives."
    assert proposal(STUFFED, STUFFED, GOOD.replace("tower", "barn"), prompt=asked) == f"{asked} Make it shorter."


def test_stories_without_fault_leave_the_prompt_as_it_is():
    assert proposal(GOOD) == GENERATION_PROMPT


def test_a_proposal_keeps_the_placeholders():
    assert refusal(proposal(STUFFED, "The end."), GENERATION_PROMPT) == ""


@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_criterion_has_a_fault_that_it_knows(criterion):
    """Under any criterion one of these stories is at fault."""
    poor = ["The end.", f"{GOOD} {CLICHE} {CLICHE} {CLICHE} {STUFFED}", GOOD.replace("But the key slipped from her hand and was gone.", "")]
    found = {proposal(story, rubric={criterion: 5}) for story in poor} - {GENERATION_PROMPT}
    assert found
    assert all(text.removeprefix(GENERATION_PROMPT).strip() in ADVICE.values() for text in found)
