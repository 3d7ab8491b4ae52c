"""Lines of a running job enter the database once, whole, whoever reads them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation.models import Rollout
from training import actions, dispatch, jobs, runner
from training.errors import StageFailed
from training.ingest import NotMine, ingest, read_lines
from training.models import Job

ROW = {"step": 0, "completion": "Once.", "content": "Once.", "finished": True, "tokens": 2, "sampling": {}, "checkpoint": "", "grades": []}


def test_a_line_without_its_end_waits(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(b'{"a": 1}\n{"b"')
    assert read_lines(file, 0) == ([{"a": 1}], 9)
    file.write_bytes(b'{"a": 1}\n{"b": 2}\n')
    assert read_lines(file, 9) == ([{"b": 2}], 18)
    assert read_lines(file, 18) == ([], 18)
    assert read_lines(tmp_path / "none", 7) == ([], 7)


@given(rows=st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=30), max_size=3)), limit=st.integers(1, 60))
def test_blocks_of_any_size_give_every_line_once(tmp_path_factory, rows: list[dict], limit: int) -> None:
    file = tmp_path_factory.mktemp("lines") / "rows.jsonl"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8", newline="")
    found: list[dict] = []
    offset = 0
    while True:
        some, offset = read_lines(file, offset, limit)
        if not some:
            break
        found += some
    assert found == rows


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"a": 1}\nwhat?\n')
    with pytest.raises(StageFailed, match="a line that is no JSON"):
        read_lines(tmp_path / "metrics.jsonl", 0)


@pytest.fixture
def job(make) -> Job:
    """A sampling job that somebody follows, with its first rollout written."""
    with dispatch.inline():
        experiment = actions.start(make("weak-proxy"))
        runner.advance(experiment.pk)
    job = experiment.jobs.get()
    assert jobs.claim(job.pk, "me")
    write(job, 0)
    return job


def write(job: Job, index: int) -> None:
    prompt = job.experiment.config["eval_prompts"][0]
    with (job.path / "rollouts.jsonl").open("a") as lines:
        lines.write(json.dumps(ROW | {"prompt": prompt, "index": index}) + "\n")


@pytest.mark.django_db(transaction=True)
class TestIngest:
    def test_rows_and_offset_are_kept_together(self, job) -> None:
        assert ingest(job.pk, "me")
        assert not ingest(job.pk, "me")
        job.refresh_from_db()
        assert job.offsets["rollouts.jsonl"] == (job.path / "rollouts.jsonl").stat().st_size
        assert Rollout.objects.count() == 1

    def test_a_row_that_comes_again_after_a_crash_changes_nothing(self, job) -> None:
        ingest(job.pk, "me")
        write(job, 0)
        write(job, 1)
        ingest(job.pk, "me")
        assert list(Rollout.objects.values_list("index", flat=True)) == [0, 1]

    def test_when_a_row_cannot_be_kept_the_offset_stays(self, job) -> None:
        with (job.path / "rollouts.jsonl").open("a") as lines:
            lines.write(json.dumps(ROW | {"prompt": 10**9, "index": 0}) + "\n")
        with pytest.raises(Exception, match="prompts that are not of the domain"):
            ingest(job.pk, "me")
        job.refresh_from_db()
        assert job.offsets == {}
        assert not Rollout.objects.exists()

    def test_only_the_follower_writes(self, job) -> None:
        with pytest.raises(NotMine):
            ingest(job.pk, "somebody else")
        assert not Rollout.objects.exists()


@pytest.mark.django_db
class TestClaim:
    def test_a_job_has_one_follower(self, job) -> None:
        assert not jobs.claim(job.pk, "other")

    def test_a_silent_or_dead_follower_is_replaced_and_a_live_one_is_not(self, job) -> None:
        from datetime import timedelta

        from django.utils import timezone

        from training import processes

        me = processes.new_name()
        assert not processes.is_gone(me)
        machine, pid, _, rest = me.split(":")
        gone = f"{machine}:{pid}:1:{rest}"  # my number, but another process had it
        elsewhere = f"0123456789ab:{pid}:1:{rest}"
        for follower, silent, taken in [(me, 0, False), (elsewhere, 0, False), (gone, 0, True), (me, 60, True), (elsewhere, 60, True)]:
            Job.objects.filter(pk=job.pk).update(follower=follower, heartbeat=timezone.now() - timedelta(seconds=silent))
            assert jobs.claim(job.pk, "next") is taken

    def test_a_job_that_has_ended_is_nobodys(self, job) -> None:
        for state in (Job.State.DONE, Job.State.FAILED, Job.State.STOPPED):
            Job.objects.filter(pk=job.pk).update(state=state, heartbeat=None)
            assert not jobs.claim(job.pk, "next")


@pytest.mark.parametrize("warm", [True, False])
@pytest.mark.django_db(transaction=True)
def test_an_engine_gets_neither_the_database_nor_the_secret(job, monkeypatch, settings, warm) -> None:
    """The process is a real one: it writes its environment where its log goes."""
    for name in ("DATABASE_URL", "REDIS_URL", "TOUCHSTONE_SECRET_KEY", "DJANGO_SETTINGS_MODULE"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "an expert in a reward process needs it")
    settings.TRAINING_ENGINE, settings.TRAINING_WARM = "tests.training.environment", warm
    jobs.warm.cache_clear()
    process = jobs.launch(job)
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.poll() == 0
    seen = json.loads(jobs.log_tail(job))
    assert "ANTHROPIC_API_KEY" in seen
    assert not [name for name in seen if name.startswith(("DATABASE", "REDIS", "TOUCHSTONE", "DJANGO"))]
