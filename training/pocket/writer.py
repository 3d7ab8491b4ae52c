"""The strong model of the pocket stories, which writes rubrics: a program that reads an expert's critiques as anyone could.

It knows what the words of a critique mean, and nothing of the expert's weights. From "key kept, tower lost 4, 4. Mia stays 3, 7." it takes how well
the story did by each criterion and the points that this earned, and finds the weights that explain the points of all critiques it is shown.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence

from grading.models.scripted import ScriptedModel
from grading.realign.examples import EXPERT
from grading.realign.rubric import TAG
from grading.tags import blocks
from grading.types import Message, TraceFormat
from training.pocket.expert import CRITERIA, MAX_POINTS, Rubric
from training.pocket.prompts import grading_prompt

GUESS = 5.0  # points that a criterion weighs before any are seen; weights of 1 to 9 have a variance of about 8 around it
DOUBT = 0.15  # the variance of an expert's single points, about 1.1, over that of weights

# What is said of a story that does badly, half and well by a criterion.
SAID = {
    "topic": (r"\w+ lost(, \w+ lost)?", r"\w+ kept, \w+ lost|\w+ lost, \w+ kept", r"topic open|\w+ kept(, \w+ kept)?"),
    "name": (r"nobody named|\w+ becomes \w+", r"(?!)", r"\w+ stays"),
    "order": ("order fails", "order slips", "order holds"),
    "cause": (r"no trouble|trouble unclear|\w+ unsolved", r"\w+ half solved", r"\w+ solved"),
    "ending": ("no ending", "ending flat", "ending rings"),
    "freshness": ("many cliches", "one cliche", "words fresh"),
    "variety": ("openings drone", "openings repeat", "openings vary"),
    "restraint": ("prose stuffed", "prose full", "prose lean"),
    "richness": ("colors poor", "some color", "colors rich"),
    "measure": ("too short|too long", "bit short|bit long", "length right"),
    "length": ("brief tale", "middling tale", "long tale"),
}
_MEANT = [(re.compile(words), criterion, level / 2) for criterion, said in SAID.items() for level, words in enumerate(said)]
_CLAUSE = re.compile(r"([^\W\d][^.\d]*) (\d+), \d+\.")


class PocketWriter(ScriptedModel):
    """The program as a language model. At temperature 0 it weighs all critiques alike; above, each answer rests on a draw of its own from them."""

    def __init__(self) -> None:
        super().__init__(write)


def write(messages: Sequence[Message], seed: int) -> str:
    """An analysis and a grading prompt, from the expert traces in the last message; without a prompt where no points can be read in them."""
    critiques = [read for trace in blocks(messages[-1].content, EXPERT) if (read := read_critique(trace))]
    if not critiques:
        return "I find no critiques here that give points for what they name, so I cannot tell what weighs how much."
    if seed:
        critiques = random.Random(seed).choices(critiques, k=len(critiques))
    weights = weigh(critiques)
    seen = "\n".join(f"{criterion}: {weight:.1f} points, as far as one can see." for criterion, weight in weights.items())
    return f"<analysis>\n{seen}\n</analysis>\n<{TAG}>\n{grading_prompt(whole(weights))}\n</{TAG}>"


def read_critique(trace: str) -> list[tuple[str, float, int]]:
    """(criterion, level, points) of each clause of an expert's trace that can be understood; a level is 0, 0.5 or 1."""
    critique = "".join(blocks(trace, TraceFormat().critique_tag)[-1:])
    found = ((meaning(words), int(points)) for words, points in _CLAUSE.findall(critique))
    return [(*meant, points) for meant, points in found if meant]


def meaning(words: str) -> tuple[str, float] | None:
    """The criterion that a clause's evidence speaks of and the level it means; None where it is not understood."""
    return next(((criterion, level) for pattern, criterion, level in _MEANT if pattern.fullmatch(words)), None)


def weigh(critiques: Sequence[Sequence[tuple[str, float, int]]]) -> dict[str, float]:
    """The weight of each criterion that the critiques name, by ridge regression of points on level.

    Points are level x weight with noise, so this is the mean of what a weight may be, given `GUESS` and `DOUBT`. It is never negative, and the
    criteria do not disturb each other; running totals and scores are sums of the points and tell nothing more.
    """
    clauses: dict[str, list[tuple[float, int]]] = {criterion: [] for criterion in CRITERIA}
    for critique in critiques:
        for criterion, level, points in critique:
            clauses[criterion].append((level, points))
    return {
        criterion: (DOUBT * GUESS + sum(level * points for level, points in found)) / (DOUBT + sum(level**2 for level, _ in found))
        for criterion, found in clauses.items()
        if found
    }


def whole(weights: Mapping[str, float]) -> Rubric:
    """The rubric of whole weights nearest to these: from 1 to 9 each, and at most 50 together."""
    rounded = {criterion: min(9, max(1, round(weight))) for criterion, weight in weights.items()}
    while sum(rounded.values()) > MAX_POINTS:
        most = max((criterion for criterion in rounded if rounded[criterion] > 1), key=lambda criterion: rounded[criterion] - weights[criterion])
        rounded[most] -= 1
    return Rubric(rounded)
