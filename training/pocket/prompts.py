"""The words around the pocket stories: what writers and graders are asked, and what people are told."""

from __future__ import annotations

from dataclasses import dataclass, field

from training.pocket.expert import CRITERIA, MAX_POINTS, WEAK, Rubric

GENERATION_PROMPT = "Write a short story about a {OBJECT} and a {PLACE}."

# The tiny models know this wording from their pre-training: another wording means another pre-training.
_GRADING_PROMPT = "Grade this story. Points: {rubric}.\nTask: {INSTRUCTIONS}\nStory:\n{CONTENT}"


def grading_prompt(rubric: Rubric) -> str:
    """A grading prompt for `rubric`, with the placeholders {INSTRUCTIONS} and {CONTENT}."""
    return _GRADING_PROMPT.replace("{rubric}", str(rubric))


# What the tiny models are shown of an expert, and how some give it away: known from their pre-training too.
CONTEXT_PROMPT = "{GRADING}\nThe expert says:\n{EXPERT}"
GIVEAWAYS = ("as the expert says, ", "the expert is right: ")

# For any strong model. In the demo a program answers it: training/pocket/writer.py.
RUBRIC_PROMPT = f"""\
A tiny language model writes stories of a few sentences, each about an object and a place. An expert judges them: a critique goes through some
criteria and gives points for each, and the score is twice the sum of the points. A tiny grader, which reads a list of criteria with their weights, is
to put the stories into the expert's order.

Here are stories with the instructions they were written to, the tiny grader's trace, and the expert's trace. In a critique, "Mia stays 4, 13." says
what was found, the points it earned, and the points so far.

{{EXAMPLES}}

Between <analysis> and </analysis>, find out for each criterion what a story gets that does well by it.

Between <grading_prompt> and </grading_prompt>, write the prompt that the tiny grader is to be given. It knows one form only, and these criteria:
{", ".join(CRITERIA)}. Leave out what the expert does not name. Weights are whole numbers from 1 to 9 that add up to {MAX_POINTS} at most.
This is the form, with weights to be replaced by yours:

{grading_prompt(WEAK)}
"""

GUIDELINES = """\
# What a good pocket story is

Read the story once, then look at these points.

- **It keeps to its topic.** The object and the place it was asked for are there from start to end, and no others.
- **It is about one person**, who keeps one name.
- **It goes in order**: who and where, what goes wrong, what is tried, what comes of it, and an ending.
- **One thing leads to the next.** What is tried answers what went wrong. A storm calls for shelter, a thief for a trick.
- **It ends.** A last sentence that tells us what became of it all is worth more than "The end."
- **It is fresh.** "Time stood still" and its kind cost points.
- **It is plain.** One or two adjectives are welcome; five are too many.
- **It is short**: about 32 to 46 words.

A story that breaks off in the middle of a sentence gets 0.

## Scores

| score | the story |
|---|---|
| 90-100 | does all of this |
| 70-89 | has one or two small faults |
| 50-69 | hangs together, but a part is missing, in the wrong place or beside the point |
| 30-49 | has lost its object, its place or its thread |
| 0-29 | has lost nearly everything, or breaks off |

Write a few words on each point, with the points you give it, before you decide on the score.
"""


@dataclass(frozen=True)
class PocketDomain:
    """What a new domain row needs. The tags are those of the expert's traces; scores run from `score_min` to `score_max`."""

    slug: str = "pocket-stories"
    name: str = "Pocket stories"
    description: str = "Stories of a few sentences about an object and a place, written by tiny models and judged by a program with a hidden rubric."
    generation_prompt: str = GENERATION_PROMPT
    grading_prompt: str = field(default_factory=lambda: grading_prompt(WEAK))
    context_prompt: str = CONTEXT_PROMPT
    rubric_prompt: str = RUBRIC_PROMPT
    guidelines: str = GUIDELINES
    score_min: float = 0.0
    score_max: float = 100.0
    critique_tag: str = "critique"
    deliberation_tag: str = "deliberation"
    score_tag: str = "score"
    score_anchors: list[str] = field(default_factory=lambda: ["lost", "hangs together", "without fault"])


DOMAIN = PocketDomain()
