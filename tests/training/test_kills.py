"""kill -9, again and again: what carries the experiment, its trainer, or both, at every boundary. It ends as if nothing had happened."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings as django_settings

from annotation.models import Batch, Feedback, Item, ProxyGrade, Rollout
from annotation.tasks import sweep as annotation_sweep
from training import actions, tasks
from training.budget import spent
from training.models import Candidate, Experiment, Job, Measurement, Stage
from training.report import report
from training.warm import Fork, Warm

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


@pytest.fixture
def env(process_env: dict[str, str]) -> dict[str, str]:
    return process_env | {"TOUCHSTONE_ENGINE": "tests.training.toy", "TOY_SECONDS": "0.02"}


@pytest.fixture
def driver(env, tmp_path) -> Iterator[Callable[[], Fork]]:
    """Starts `run_experiment stories` as a process of its own."""
    warm, started, folder = Warm("tests.training.drivers", django_settings.BASE_DIR), [], tmp_path / "stories"

    def start() -> Fork:
        started.append(warm.start("run", str(folder), str(tmp_path / "log.txt"), env))
        return started[-1]

    yield start
    for process in started:
        kill(process)
    warm.close()


def kill(process: Fork) -> None:
    """And wait until it is dead."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    while process.poll() is None:
        time.sleep(0.01)


def trace(experiment: Experiment) -> dict[str, object]:
    """Everything that must not depend on what was killed."""
    name = experiment.name
    runs = [f"{name}/{key}" for key in experiment.jobs.values_list("key", flat=True)]
    return {
        "stages": [(s.key, s.outcome) for s in experiment.stages.all()],
        "spent": spent(experiment),
        "rollouts": sorted(Rollout.objects.filter(run__in=runs).values_list("step", "prompt", "index", "content")),
        "grades": sorted(ProxyGrade.objects.filter(run__in=runs).values_list("rollout__content", "sample", "score")[:], key=str),
        "items": Item.objects.filter(batch__experiment=name).count(),
        "verdicts": sorted(Feedback.objects.filter(item__batch__experiment=name).values_list("item__rollout__content", "score")),
        "measured": list(Measurement.objects.filter(experiment=experiment).values_list("name", "step", "when", "value", "low", "high")),
        "metrics": [m.data for m in experiment.step_metrics.all()],
        "checkpoints": list(experiment.checkpoints.values_list("step", "digest")),
        "proxies": list(experiment.proxies.values_list("number", "digest", "step")),
        "candidates": [candidate(c) for c in Candidate.objects.filter(stage__experiment=experiment).order_by("stage__number", "number")],
        "report": json.loads(json.dumps(report([experiment])).replace(f'"{name}"', '"it"')),
    }


def candidate(tried: Candidate) -> tuple[object, ...]:
    words = sorted(tried.feedback.values_list("item__rollout__content", "score"))
    return (
        tried.stage.key,
        tried.number,
        tried.prompts,
        tried.chosen,
        tried.value,
        tried.low,
        tried.high,
        sorted(tried.scores.values(), key=str),
        words,
    )


def boundary(experiment: Experiment) -> tuple[int, int, int]:
    """Moves whenever a stage begins or ends, or a process is started."""
    ended = Stage.objects.filter(experiment=experiment, ended__isnull=False).count()
    return Stage.objects.filter(experiment=experiment).count(), ended, Job.objects.filter(experiment=experiment, attempts__gte=1).count()


def kill_trainer(experiment: Experiment) -> None:
    for pid in experiment.jobs.filter(pid__isnull=False).values_list("pid", flat=True):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


# Between them they have every script and every kind of stage. With the rubric's seed reward falls at the first check, which is of two texts.
SHORT: dict[str, Any] = {"steps": 1, "segment": 1}
PLANS: dict[str, dict[str, Any]] = {
    "context-feedback": SHORT,
    "rubric": {"steps": 2, "segment": 1, "fall": 0.0, "fall_in": "means", "search": 2, "check": 2, "seed": 4},
    "per-prompt-few-shot": SHORT,
    "ceiling": {"steps": 4, "segment": 4},
    "weak-proxy": SHORT,
    "retrain": SHORT,
    "prompt-optimisation": {},
}


@pytest.mark.parametrize("protocol", PLANS)
def test_killed_at_every_boundary_it_ends_as_if_undisturbed(driver, make, run, protocol) -> None:
    plan = PLANS[protocol]
    if protocol == "retrain":
        plan = plan | {"proxy_version": run("full-trace", name="first", **SHORT).proxies.get(number=2)}
    undisturbed = run(protocol, name="undisturbed", **plan)
    assert protocol != "rubric" or undisturbed.checkpoints.get(step=2).parent.step == 0, "it was not rolled back"
    experiment = actions.start(make(protocol, **plan))
    process, seen, kills = driver(), boundary(experiment), 0
    deadline = time.monotonic() + 240
    while process.poll() is None or kills_left(experiment):
        assert time.monotonic() < deadline, Experiment.objects.get(pk=experiment.pk).note
        if process.poll() is not None:
            process = driver()
        elif (now := boundary(experiment)) != seen:
            seen = now
            if kills % 2:
                kill_trainer(experiment)
            kill(process)
            kills += 1
        time.sleep(0.005)
    experiment.refresh_from_db()
    assert experiment.state == Experiment.State.DONE, experiment.note  # the last kill may have hit a process that was done
    assert kills >= 5
    assert trace(experiment) == trace(undisturbed)
    assert not left_open()


def left_open() -> bool:
    """Whether a batch is open that nothing will close. A kill between a last verdict and the closing of its batch leaves that to the beat's sweep."""
    annotation_sweep()
    return Batch.objects.filter(closed=None).exists()


def kills_left(experiment: Experiment) -> bool:
    return Experiment.objects.filter(pk=experiment.pk, state__in=Experiment.ACTIVE).exists()


@pytest.fixture
def worker(env) -> Iterator[Callable[[], subprocess.Popen]]:
    """Starts a Celery worker for all queues, in a process group of its own."""
    started: list[subprocess.Popen] = []

    def start() -> subprocess.Popen:
        command = [sys.executable, "-m", "celery", "-A", "config", "worker", "-Q", "default,training", "--concurrency", "2", "-l", "WARNING"]
        options = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        started.append(
            subprocess.Popen([*command, *options], cwd=django_settings.BASE_DIR, env=env, start_new_session=True, stderr=subprocess.DEVNULL)
        )
        return started[-1]

    yield start
    for process in started:
        kill_group(process)


@pytest.fixture
def web(env) -> Iterator[Callable[[], tuple[subprocess.Popen, str]]]:
    """Starts the web process, in a process group of its own; returns its address too."""
    started: list[subprocess.Popen] = []

    def start() -> tuple[subprocess.Popen, str]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [sys.executable, "-m", "uvicorn", "config.asgi:application", "--port", str(port), "--log-level", "error"]
        started.append(subprocess.Popen(command, cwd=django_settings.BASE_DIR, env=env, start_new_session=True))
        return started[-1], f"http://127.0.0.1:{port}/"

    yield start
    for process in started:
        kill_group(process)


def kill_group(process: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def answers(address: str) -> bool:
    for _ in range(300):
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5) as page:
            return page.status == 200
        time.sleep(0.1)
    return False


def test_worker_web_and_trainer_killed_at_every_boundary_it_ends_as_if_undisturbed(worker, web, make, run) -> None:
    undisturbed = run(name="undisturbed", steps=1, segment=1)
    experiment = actions.start(make(steps=1, segment=1))
    process, (server, address) = worker(), web()
    seen, kills, swept = boundary(experiment), 0, 0.0
    hit: set[str] = set()  # kinds of jobs whose process was killed
    deadline = time.monotonic() + 480
    while kills_left(experiment):
        assert time.monotonic() < deadline, Experiment.objects.get(pk=experiment.pk).note
        if (now := boundary(experiment)) != seen:
            seen, kills = now, kills + 1
            hit |= set(experiment.jobs.filter(state=Job.State.RUNNING, attempts__gte=1).values_list("kind", flat=True))
            for victim in (process, server):
                kill_group(victim)
            kill_trainer(experiment)
            process, (server, address) = worker(), web()
        if time.monotonic() - swept > 0.5:
            swept = time.monotonic()
            tasks.sweep()  # as beat does
            annotation_sweep()
        time.sleep(0.01)
    experiment.refresh_from_db()
    assert experiment.state == Experiment.State.DONE, experiment.note
    assert kills >= 10
    assert {"rl", "distil", "sample"} <= hit
    assert trace(experiment) == trace(undisturbed)
    assert not left_open()
    assert answers(address)
