"""What prompt optimisation asked the expert lands in the database like the rewards of RL: once, and paid for."""

from __future__ import annotations

from annotation import actions, querysets
from annotation.models import Batch, Prompt, Rollout
from tests.annotation.makers import make_batch, make_program
from tests.engine.conftest import lines, run_here, scripted, write_job


def test_every_verdict_of_an_optimisation_is_recorded_once(domain, tmp_path, monkeypatch):
    tasks = [{"id": prompt.pk, "text": prompt.text, "variables": prompt.variables} for prompt in Prompt.objects.filter(split="train")]
    folder = write_job(
        tmp_path,
        tmp_path,
        "optimise-0",
        "optimise",
        generation_prompt=domain.generation_prompt,
        train=tasks[:2],  # fewer than a minibatch: one of them comes twice in it
        validation=tasks[2:],
        judge={"backend": "training.pocket.expert.PocketExpert", "options": {}},
        reflection=scripted("polite"),
        calls=60,
    )
    assert run_here(folder, monkeypatch) == 0
    rows = lines(folder, "rollouts.jsonl")
    batch = make_batch(make_program(), domain, [], purpose=Batch.Purpose.REWARD)
    for _ in range(2):
        actions.record_rollouts(domain, "exp/optimise-0", rows)
        actions.record_reward_verdicts(batch, rows, run="exp/optimise-0")
    assert Rollout.objects.count() == querysets.verdicts(batch).count() == len(rows)
    assert {row.index for row in Rollout.objects.all()} == {0, 1}
