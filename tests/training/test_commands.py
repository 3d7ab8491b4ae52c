"""run_experiment and report as people meet them: plain words, plain errors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from io import StringIO

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command

from training.models import Experiment

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
SMALL = ["steps=2", "segment=1", "eval_prompts=3", "eval_rollouts=2", "per_prompt=4", "initial=8", "update=4", "prompts_per_step=2", "group=2"]
SETTINGS = [word for change in SMALL for word in ("--set", change)]


def run(*args: str) -> str:
    out = StringIO()
    call_command("run_experiment", *args, stdout=out)
    return out.getvalue()


def test_a_new_experiment_is_told_stage_by_stage_and_reported(rosa, domain, critic, model) -> None:
    told = run("stories", "--preset", "pocket-full-trace", "--policy", model, "--owner", "rosa", "--seed", "3", *SETTINGS)
    for line in (
        "Sampling 14 rollouts from the policy at step 0.",
        "Step 0: the expert gave 8 verdicts (initial), mean score",
        "Step 0: proxy version 2 learnt from 8 verdicts.",
        "before the realignment",
        "RL from step 0 to 1.",
        "Done: all steps done. Its policy is that of step 2.",
    ):
        assert line in told
    assert Experiment.objects.get().seed == 3
    assert "Done: all steps done" in run("stories"), "what is done is not done again"
    out = StringIO()
    call_command("report", "stories", stdout=out)
    assert "stories: 18 eval, 8 initial, 4 update" in out.getvalue()
    out = StringIO()
    call_command("report", "stories", "--json", stdout=out)
    assert json.loads(out.getvalue())["experiments"][0]["samples"] == {"eval": 18, "initial": 8, "update": 4}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["stories"], "There is no experiment stories. To make it, give --preset"),
        (["stories", "--preset", "x", "--owner", "rosa"], "--preset: There is no preset 'x'"),
        (["stories", "--preset", "pocket-ceiling", "--owner", "nobody"], "There is no user nobody."),
        (["stories", "--preset", "pocket-ceiling"], "There is no admin to own it"),
        (["stories", "--preset", "pocket-ceiling", "--owner", "rosa", "--expert", "x"], "--expert: there is no expert 'x'; there are critic."),
        (["stories", "--preset", "pocket-ceiling", "--owner", "rosa", "--policy", "/nowhere"], "--policy: There is no folder /nowhere"),
        (["stories", "--preset", "pocket-ceiling", "--owner", "rosa", "--budget", "0"], "--budget: A budget of 0"),
        (["stories", "--preset", "pocket-ceiling", "--owner", "rosa", "--set", "steps"], "--set takes KEY=VALUE"),
        (["stories", "--preset", "pocket-ceiling", "--owner", "rosa", "--set", "stepps=1"], "A plan has no stepps."),
    ],
)
def test_what_is_wrong_is_said_by_the_name_of_the_option(rosa, domain, critic, args, words) -> None:
    with pytest.raises(CommandError) as caught:
        run(*args)
    assert words in str(caught.value)


def test_the_plan_of_an_experiment_cannot_change(make) -> None:
    make()
    with pytest.raises(CommandError, match="its plan cannot change"):
        run("stories", "--set", "steps=9")


def test_a_report_names_what_is_missing_and_what_there_is(make) -> None:
    make()
    with pytest.raises(CommandError, match=r"There is no experiment lost\. There are: stories\."):
        call_command("report", "stories", "lost")


@pytest.mark.slow
def test_ctrl_c_pauses_and_the_same_command_goes_on(process_env, make) -> None:
    make("weak-proxy", steps=30, segment=30, stop_after_falls=0)
    env = process_env | {"TOUCHSTONE_ENGINE": "tests.training.toy", "TOY_SECONDS": "0.1"}
    command = [sys.executable, "manage.py", "run_experiment", "stories"]
    process = subprocess.Popen(command, cwd=django_settings.BASE_DIR, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    experiment = Experiment.objects.get()
    deadline = time.monotonic() + 60
    while not experiment.step_metrics.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, complaint = process.communicate(timeout=30)
    assert "Paused; its training job saves and stops at the next step. To go on: manage.py run_experiment stories" in complaint
    assert "Traceback" not in complaint
    experiment.refresh_from_db()
    assert experiment.state == Experiment.State.PAUSED
    fast = env | {"TOY_SECONDS": "0"}
    done = subprocess.run(command, cwd=django_settings.BASE_DIR, env=fast, capture_output=True, text=True, timeout=120, check=True)
    assert "Resuming stories" in done.stdout
    assert list(experiment.step_metrics.values_list("step", flat=True)) == list(range(1, 31))
