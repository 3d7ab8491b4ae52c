"""What the package promises: Touchstone's suite for all judges, and its own scores."""

from __future__ import annotations

import pytest
from strict_editor.judges import StrictEditor

from grading.errors import ConfigurationError
from grading.testing import JudgeConformance


class TestItIsAJudge(JudgeConformance):
    @pytest.fixture
    def judge(self) -> StrictEditor:
        return StrictEditor()


class TestItIsAJudgeWhateverItsOptions(JudgeConformance):
    @pytest.fixture
    def judge(self) -> StrictEditor:
        return StrictEditor(points=0.5, longest=1, banned=["snow (fresh)", "a"])


@pytest.mark.parametrize(
    ("text", "score", "critique"),
    [
        ("A key lay in the snow.", 100, "Nothing to mend."),
        ("A key lay in the the snow.", 95, "“the the” says it twice."),
        ("A key! In the snow!", 90, "An exclamation mark shouts. An exclamation mark shouts."),
        ("Time stood still.", 95, "“Time stood still” is worn out."),
        ("A key lay in", 95, "It breaks off."),
        ("And " + "on and " * 20 + "on.", 95, "“And on and ...” runs on for 42 words."),
        ("no " * 30, 0, "“no no” says it twice. " * 8 + "And 22 faults more."),
    ],
)
def test_every_fault_costs_points(text: str, score: float, critique: str) -> None:
    verdict = StrictEditor().verdict(text)
    assert (verdict.score, verdict.critique) == (score, critique)


@pytest.mark.parametrize("text", ["", " \n", "...", "12!"])
def test_without_words_there_is_no_score(text: str) -> None:
    assert StrictEditor().verdict(text).unscored_reason == "there are no words to edit"


@pytest.mark.parametrize("options", [{"points": 0}, {"points": 101}, {"longest": 0}, {"banned": "suddenly"}, {"banned": [""]}])
def test_options_that_will_not_do_are_refused(options: dict) -> None:
    with pytest.raises(ConfigurationError):
        StrictEditor(**options)
