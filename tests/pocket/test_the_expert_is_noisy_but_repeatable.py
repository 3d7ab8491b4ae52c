"""The noise looks like a person's: 4-5 points, in single criteria, and the sums stay true."""

import asyncio
import random
import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from grading.types import Case
from training.pocket.expert import PocketExpert
from training.pocket.language import prompts, write_story


def cases(count, seed=3):
    rng = random.Random(seed)
    tasks = [rng.choice(prompts()) for _ in range(count)]
    return [Case(t.instructions, write_story(rng, t.object, t.place, rng.betavariate(0.8, 2.0))) for t in tasks]


def test_repeated_verdicts_on_a_story_spread_by_4_to_5_points():
    expert = PocketExpert()
    spread = [np.var([expert.verdict(c, seed=s).score for s in range(30)]) for c in cases(60)]
    assert 4.0 <= np.sqrt(np.mean(spread)) <= 5.0


def test_verdicts_do_not_depend_on_order_or_company():
    some, expert = cases(8), PocketExpert(seed=5)
    together = asyncio.run(expert.grade(some, seed=2))
    backwards = asyncio.run(expert.grade(some[::-1], seed=2))[::-1]
    assert together == backwards == [asyncio.run(PocketExpert(seed=5).grade([c], seed=2))[0] for c in some]


def test_seeds_make_other_verdicts():
    some = cases(20)
    scores = {tuple(PocketExpert(seed=a).verdict(c, seed=b).score for c in some) for a in (0, 1) for b in (0, 1)}
    assert len(scores) == 4


@given(content=st.text(), instructions=st.text(), seed=st.integers())
def test_any_text_gets_a_verdict_whose_arithmetic_is_true(content, instructions, seed):
    check_sums(PocketExpert().verdict(Case(instructions, content), seed=seed))


@given(seed=st.integers(0, 10**6), quality=st.floats(0, 1))
def test_the_arithmetic_of_a_noisy_trace_is_true(seed, quality):
    rng = random.Random(seed)
    check_sums(PocketExpert().verdict(Case("Write a short story about a key and a tower.", write_story(rng, "key", "tower", quality)), seed=seed))


def check_sums(verdict):
    total = 0
    for points, running in re.findall(r" (\d), (\d+)\.", verdict.critique):
        total += int(points)
        assert total == int(running)
    assert verdict.score == 2 * total
    assert verdict.deliberation == f"{total} of 50."
    assert 0 <= verdict.score <= 100
    assert max(len(clause.split()) for clause in re.split(r" \d, \d+\. ?", verdict.critique)) <= 5
