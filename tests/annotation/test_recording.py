"""What training jobs wrote comes in once, however often the same lines come."""

from __future__ import annotations

import pytest
from django.db import DataError

from annotation import actions, querysets
from annotation.errors import InvalidSelection
from annotation.models import Batch, Feedback, Item, Prompt, ProxyGrade, Rollout, digest_of
from tests.annotation.makers import make_batch, make_domain, make_panel, make_program, make_rollouts

CHECKPOINT = "c" * 64


@pytest.fixture
def prompt(domain):
    return Prompt.objects.create(domain=domain, split="train", text="Write.", digest=digest_of("Write."))


def line(prompt, index=0, **fields):
    row = {"request": "eval", "step": 30, "prompt": prompt.pk, "index": index, "completion": "A story.", "content": "A story.", "finished": True}
    return row | {"tokens": 4, "sampling": {"temperature": 1.0}, "checkpoint": CHECKPOINT} | fields


def verdict(score, critique="Words."):
    return {"score": score, "critique": critique, "deliberation": "", "raw": "", "unscored_reason": "" if score is not None else "no score found"}


def test_rollouts_land_once(domain, prompt):
    rows = [line(prompt, i) for i in range(5)]
    assert actions.record_rollouts(domain, "exp/sample-30", rows[:3]) == 3
    assert actions.record_rollouts(domain, "exp/sample-30", rows) == 2
    assert actions.record_rollouts(domain, "exp/other", rows[:1]) == 1
    row = Rollout.objects.filter(run="exp/sample-30").first()
    assert (row.step, row.tokens, row.sampling, row.checkpoint) == (30, 4, {"temperature": 1.0}, CHECKPOINT)


def test_many_rows_need_few_statements(domain, prompt, django_assert_max_num_queries):
    with django_assert_max_num_queries(6):
        assert actions.record_rollouts(domain, "exp/sample-30", [line(prompt, i) for i in range(4000)]) == 4000


def test_rollouts_of_another_domains_prompts_are_refused_whole(prompt):
    with pytest.raises(InvalidSelection, match="not of the domain"):
        actions.record_rollouts(make_domain("others"), "exp/sample-30", [line(prompt)])
    assert not Rollout.objects.exists()


def test_any_text_a_model_writes_can_be_kept(domain, prompt):
    text = 'quote " backslash \\ {brace} \0 \ud800 NULL \n\t 😀'
    actions.record_rollouts(domain, "r", [line(prompt, completion=text, content=text)])
    assert Rollout.objects.get().content == text.replace("\0", "\ufffd").replace("\ud800", "\ufffd")


def test_a_value_that_is_too_long_is_refused_and_not_cut(domain, prompt):
    with pytest.raises(DataError):
        actions.record_rollouts(domain, "r", [line(prompt, checkpoint="c" * 65)])


def test_grades_name_their_rollout_by_id_or_by_step_prompt_and_index(domain, prompt):
    actions.record_rollouts(domain, "exp/sample-30", [line(prompt, i) for i in range(2)])
    first, second = Rollout.objects.all()
    by_name = [{"step": 30, "prompt": prompt.pk, "index": 0, "sample": i, **verdict(score)} for i, score in enumerate([50.0, None])]
    assert actions.record_proxy_grades("exp/sample-30", "p", by_name) == 2
    assert actions.record_proxy_grades("exp/sample-30", "p", by_name) == 0
    assert actions.record_proxy_grades("exp/grade-30", "q", [{"id": second.pk, "sample": 0, **verdict(7.0)}]) == 1
    assert list(first.proxy_grades.values_list("sample", "score", "unscored_reason")) == [(0, 50.0, ""), (1, None, "no score found")]
    assert ProxyGrade.objects.get(proxy="q").rollout == second


def test_a_grade_of_a_rollout_that_is_not_there_is_refused(domain, prompt):
    for row in [{"id": 10**9}, {"step": 1, "prompt": prompt.pk, "index": 0}]:
        with pytest.raises(InvalidSelection, match="no rollout"):
            actions.record_proxy_grades("r", "p", [row | {"sample": 0, **verdict(1.0)}])


def test_reward_verdicts_become_done_items_and_feedback_once(domain, prompt):
    batch = make_batch(make_program(), domain, [], purpose=Batch.Purpose.REWARD)
    rows = [line(prompt, i, verdict=verdict(score)) for i, score in enumerate([10.0, None, 30.0])]
    actions.record_rollouts(domain, "exp/train-0", rows)
    assert actions.record_reward_verdicts(batch, rows[:2], run="exp/train-0") == 2
    assert actions.record_reward_verdicts(batch, rows, run="exp/train-0") == 1
    assert [(row.score, row.counted) for row in querysets.verdicts(batch)] == [(10.0, True), (None, True), (30.0, True)]
    assert set(Item.objects.values_list("state", flat=True)) == {"done"}
    assert Batch.objects.get().closed is None
    actions.close_batch(batch)
    assert actions.record_reward_verdicts(batch, rows, run="exp/train-0") == 0


def test_a_reward_out_of_range_is_kept_unscored(domain, prompt):
    batch = make_batch(make_program(), domain, [], purpose=Batch.Purpose.REWARD)
    (pk,) = make_rollouts(domain, 1)
    actions.record_reward_verdicts(batch, [{"rollout": pk, **verdict(1000.0)}])
    row = Feedback.objects.get()
    assert row.score is None
    assert "from 0 to 100" in row.unscored_reason


def test_reward_verdicts_on_another_domains_rollouts_are_refused(domain, alice):
    batch = make_batch(make_panel(alice), domain, [], purpose=Batch.Purpose.REWARD)
    (pk,) = make_rollouts(make_domain("others"), 1)
    with pytest.raises(InvalidSelection):
        actions.record_reward_verdicts(batch, [{"rollout": pk, **verdict(1.0)}])
