"""An expert from another package is a class and a dotted path: installed by pip, it passes the suite, and is asked like any other."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command

from annotation import actions, querysets, tasks
from annotation.checks import check_experts
from annotation.models import Expert, Feedback, Prompt, Rollout
from training.models import Experiment
from training.report import report

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tests" / "third_party" / "strict_editor"
BACKEND = "strict_editor.judges.StrictEditor"
EXPERTS = {"editor": {"BACKEND": BACKEND, "OPTIONS": {"points": 10, "longest": 12}}}


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder with the package as pip installs it, and nothing else."""
    source = shutil.copytree(PACKAGE, tmp_path_factory.mktemp("source") / "strict_editor")  # what is built there does not come into the tree
    site = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-build-isolation", "--no-deps"]
    done = subprocess.run([*command, "--target", site, source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in site.iterdir()) == ["strict_editor", "strict_editor-1.0.dist-info"]
    return site


@pytest.fixture
def installed(site: Path, settings, monkeypatch) -> Iterator[None]:
    """The package beside ours, for this process and for those that it starts, and its dotted path in the settings."""
    settings.EXPERTS = EXPERTS
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", str(site))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "strict_editor"]:
        del sys.modules[name]


@pytest.fixture
def editor(db, installed) -> Expert:
    return Expert.objects.create(alias="editor", name="The strict editor", kind=Expert.Kind.PROGRAM, backend="editor", options={"points": 20})


def test_it_passes_the_suite_for_judges(site, tmp_path, monkeypatch):
    shutil.copytree(PACKAGE / "tests", tmp_path / "tests")  # away from its source: what is tested is what was installed
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    monkeypatch.setenv("PYTHONPATH", f"{site}:{ROOT}")
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-p", "no:django", "-p", "no:asyncio", "tests"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    for kind in ("TestItIsAJudge", "TestItIsAJudgeWhateverItsOptions"):
        assert len(re.findall(rf"::{kind}::test_\w+ PASSED", done.stdout)) >= 6, done.stdout


def test_the_check_at_start_up_looks_whether_it_is_installed(settings, request):
    settings.EXPERTS = EXPERTS
    (error,) = check_experts()
    assert (error.id, error.hint) == ("annotation.E003", f"Correct '{BACKEND}', or install the package that it is in.")
    request.getfixturevalue("installed")
    assert check_experts() == []


def test_it_answers_a_batch_and_every_verdict_names_it(editor, domain):
    prompt = Prompt.objects.filter(domain=domain).first()
    texts = ["A key lay in the snow.", "A key! It lay in the the snow.", "..."]
    actions.record_rollouts(
        domain, "import", [{"prompt": prompt.pk, "step": 0, "index": i, "completion": text, "content": text} for i, text in enumerate(texts)]
    )
    rollouts = list(Rollout.objects.order_by("index").values_list("pk", flat=True))
    batch = actions.select_batch(key="import/1", title="Imported", domain=domain, expert=editor, purpose="update", rollouts=rollouts)
    assert tasks.answer_batch(batch.pk) == 3
    rows = list(querysets.verdicts(batch))
    assert [(row.score, row.critique, row.unscored_reason) for row in rows] == [
        (100, "Nothing to mend.", ""),
        (60, "“the the” says it twice. An exclamation mark shouts.", ""),
        (None, "", "there are no words to edit"),
    ]
    for row in rows:
        assert row.expert == editor
        assert row.expert_options == {"kind": "program", "name": "editor", "backend": BACKEND, "options": {"points": 20, "longest": 12}}
    out = StringIO()
    call_command("export_feedback", stdout=out, stderr=StringIO())
    exported = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(row["reviewer"], row["expert"], row["expert_options"]["backend"]) for row in exported] == [("editor", "editor", BACKEND)] * 3


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("protocol", "purposes"), [("ceiling", {"eval", "reward"}), ("full-trace", {"eval", "initial"})])
def test_a_whole_experiment_rests_on_it(protocol, purposes, run, editor):
    """RL on expert reward has it loaded by the training job's own process, everything else by the task that answers batches."""
    from strict_editor.judges import StrictEditor

    experiment = run(protocol, expert=editor, steps=2)
    assert experiment.state == Experiment.State.DONE, experiment.note
    (entry,) = report([experiment])["experiments"]
    assert entry["expert"] == "editor"
    assert set(entry["samples"]) == purposes
    assert entry["expert_reward"]["final"]["samples"] > 0
    given = list(Feedback.objects.select_related("item__rollout", "item__batch"))
    assert {row.item.batch.purpose for row in given} == purposes
    judge = StrictEditor(points=20, longest=12)
    for row in given:
        assert (row.expert, row.expert_options["backend"]) == (editor, BACKEND)
        verdict = judge.verdict(row.item.rollout.content)
        assert (row.score, row.critique, row.deliberation) == (verdict.score, verdict.critique, verdict.deliberation)
    assert len({row.score for row in given}) > 1
