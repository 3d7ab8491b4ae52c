"""The guide's example is a package that works, and the suite it recommends finds what is wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from grading.graders import Grader
from grading.models.base import PREFILL, SEED, TEMPERATURE, N
from grading.models.scripted import ScriptedModel
from grading.testing import JudgeConformance, ModelConformance
from grading.types import Completion, Usage, Verdict

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"```python\n# (\S+\.py)\n(.*?)```", re.DOTALL)


def test_the_example_of_the_guide_passes_the_suite(tmp_path):
    files = dict(BLOCK.findall((ROOT / "docs" / "writing-an-expert.md").read_text()))
    assert set(files) == {"strict_judge/judges.py", "strict_judge/models.py", "tests/test_conformance.py"}
    for name, code in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(code)
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = . {ROOT}\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:django", "-p", "no:asyncio", "tests"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert re.search(r"\b2\d passed", done.stdout), done.stdout


def opinion(messages, seed):
    return f"<critique>seed {seed % 7}</critique><score>{seed % 100}</score>"


class TestAGraderIsAJudge(JudgeConformance):
    independent = False  # it draws for each place anew

    @pytest.fixture
    def judge(self):
        return Grader(["Grade {CONTENT}, written for {INSTRUCTIONS}"], ScriptedModel(opinion), n=2)


class Faulty:
    """A language model in the making: by default it does as it should."""

    capabilities = frozenset({N, SEED, TEMPERATURE, PREFILL})

    def __init__(self, **faults):
        self.faults = faults

    async def generate(self, requests, sampling, *, seed):
        return [[Completion("qxz", usage=Usage(1, self.faults.get("wrote", 1))) for _ in range(self.faults.get("n", sampling.n))] for _ in requests]


@pytest.mark.parametrize(
    ("name", "faults"),
    [
        ("test_it_answers_every_request_n_times_in_order", {"n": 1}),
        ("test_several_samples_are_given_or_refused", {"n": 1}),
        ("test_the_same_seed_gives_the_same_words_and_another_seed_others", {}),
        ("test_samples_of_one_request_differ_at_temperature_1", {}),
        ("test_log_probabilities_are_given_or_refused", {}),  # it neither promises nor refuses them
        ("test_a_final_turn_of_the_assistant_is_gone_on_with_or_refused", {}),  # it begins the turn again
        ("test_what_is_no_conversation_is_refused", {}),
        ("test_it_stops_at_max_tokens_and_says_so", {"wrote": 5}),
        ("test_it_counts_what_it_read", {}),
    ],
)
def test_the_suite_finds_a_model_s_fault(name, faults):
    with pytest.raises((AssertionError, ValueError)):
        getattr(ModelConformance(), name)(Faulty(**faults))


class Sloppy:
    def __init__(self, verdict):
        self.verdict = verdict

    async def grade(self, cases, *, seed=0):
        return [self.verdict for case in cases if case.content.strip()]


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("test_no_text_breaks_it", Verdict(50)),  # none for blank texts
        ("test_it_gives_one_verdict_for_each_case", Verdict(101)),
        ("test_it_gives_one_verdict_for_each_case", Verdict(float("nan"))),
        ("test_it_gives_one_verdict_for_each_case", Verdict(None)),
        ("test_it_gives_one_verdict_for_each_case", Verdict(5, unscored_reason="but why")),
        ("test_it_gives_one_verdict_for_each_case", 5),
    ],
)
def test_the_suite_finds_a_judge_s_fault(name, verdict):
    with pytest.raises(AssertionError):
        getattr(JudgeConformance(), name)(Sloppy(verdict))


def test_a_class_within_a_function_is_not_to_be_found():
    class Hidden(Sloppy):
        pass

    with pytest.raises(AssertionError, match="not to be imported"):
        JudgeConformance().test_it_is_a_class_that_a_dotted_path_finds(Hidden(Verdict(1)))
