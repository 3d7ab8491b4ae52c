"""A key is in no log, row, page, export, answer of the API, job folder, error or error report, whatever quotes it."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core import mail, serializers
from django.core.management import call_command
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils.log import AdminEmailHandler
from django.views.debug import ExceptionReporter, get_exception_reporter_class

from annotation import actions, experts, tasks
from annotation.actions.outages import FAILED
from annotation.models import AuditEntry, Batch, Domain, Expert, Feedback, Outage, Prompt, Rollout
from config.reports import Formatter
from grading.errors import ConfigurationError, GraderError
from tests.conftest import environment
from tests.grading.servers.anthropic import ScriptedAnthropic
from tests.grading.servers.http import HANG_UP, Reply, Server
from tests.grading.servers.openai import ScriptedOpenAI
from training import actions as training
from training import drive
from training.models import Experiment

pytestmark = pytest.mark.slow

OF_ENVIRONMENT, OF_SETTINGS = "sk-live-Environment0001", "sk-live-Settings0002"
KEYS = (OF_ENVIRONMENT, OF_SETTINGS)
QUOTED = f'Incorrect API key provided: Bearer {OF_ENVIRONMENT}. Header was {{"authorization": "Bearer {OF_ENVIRONMENT}"}}'
TRACE = "<critique>Fine.</critique><score>50</score>"
PROMPT = "Grade this for its author.\n\n{CONTENT}"


def failing(status: int, kind: str) -> Reply:
    """As both providers say it, with the key in every field."""
    inner = {"type": kind, "message": QUOTED, "code": kind, "param": OF_ENVIRONMENT}
    return Reply(status, {"type": "error", "error": inner, "request_id": OF_ENVIRONMENT}, {"x-key": OF_ENVIRONMENT})


FAULTS = {
    "400": failing(400, "invalid_request_error"),
    "401": failing(401, "authentication_error"),
    "403": failing(403, "permission_error"),
    "404": failing(404, "not_found_error"),
    "429": failing(429, "rate_limit_error"),
    "429 for want of money": failing(429, "insufficient_quota"),
    "500": failing(500, "api_error"),
    "529": failing(529, "overloaded_error"),
    "a page in place of JSON": Reply(502, f"<html><h1>{QUOTED}</h1></html>".encode(), {"content-type": "text/html"}),
    "a text in place of JSON": Reply(500, QUOTED),
    "an answer that is none": Reply(200, {"echo": QUOTED}),
    "an answer that is no JSON": Reply(200, QUOTED.encode()),
    "a dropped connection": HANG_UP,
}


@pytest.fixture
def openai() -> Iterator[ScriptedOpenAI]:
    with ScriptedOpenAI().running() as running:
        running.script = lambda body, index: {"message": {"role": "assistant", "content": TRACE}, "finish_reason": "stop"}
        yield running


@pytest.fixture
def anthropic() -> Iterator[ScriptedAnthropic]:
    with ScriptedAnthropic(OF_ENVIRONMENT).running() as running:
        yield running


@pytest.fixture(autouse=True)
def keys(settings, monkeypatch, openai, anthropic) -> None:
    monkeypatch.setenv("ACCESS_TO_MODELS", OF_ENVIRONMENT)  # nothing in this name says what it holds
    monkeypatch.setenv("SOME_API_KEY", OF_ENVIRONMENT)
    once: dict[str, Any] = {"timeout": 5.0, "max_retries": 0, "api_key_env": "ACCESS_TO_MODELS"}
    vllm = {"backend": "grading.models.openai.OpenAIModel", "options": {"base_url": f"{openai.url}/v1", "model": "tiny", **once}}
    claude = {"backend": "grading.models.anthropic.AnthropicModel", "options": {"base_url": anthropic.url, "model": "claude-opus-5-5", **once}}
    batches = {
        **claude,
        "options": {
            "base_url": anthropic.url,
            "model": "claude-opus-5-5",
            **once,
            "batch": True,
            "poll_seconds": 0,
            "missed_polls": 0,
            "resubmissions": 0,
        },
    }
    settings.EXPERTS |= {
        name: {"BACKEND": "grading.graders.Grader", "OPTIONS": {"prompts": [PROMPT], "model": model}}
        for name, model in (("vllm", vllm), ("claude", claude), ("claude-batches", batches))
    }
    settings.EXPERTS["careless"] = {"BACKEND": "tests.training.careless.Careless", "OPTIONS": {"api_key": OF_SETTINGS, "fault": "anywhere"}}
    settings.ADMINS = [("Ada", "ada@example.com")]


@pytest.fixture
def ada(db) -> User:
    return User.objects.create_superuser("ada", password="x")


@pytest.fixture
def batch(domain: Domain) -> Callable[..., Batch]:
    """`batch(backend, **options)`: a batch of two texts for an expert of that backend."""

    def make(backend: str, kind: str = Expert.Kind.LLM, **options: str) -> Batch:
        expert = Expert.objects.create(alias=backend, name=f"The expert {backend}", kind=kind, backend=backend, options=options)
        prompts = Prompt.objects.filter(domain=domain)[:2]
        actions.record_rollouts(
            domain, "import", [{"prompt": p.pk, "step": 0, "index": 0, "completion": "A key.", "content": "A key."} for p in prompts]
        )
        rollouts = list(Rollout.objects.values_list("pk", flat=True))
        return actions.select_batch(key=backend, title="Imported", domain=domain, expert=expert, purpose="update", rollouts=rollouts)

    return make


@pytest.fixture
def log(caplog) -> Iterator[io.StringIO]:
    """What our own handler writes, of everything down to DEBUG."""
    caplog.set_level(logging.DEBUG)
    handler = logging.StreamHandler(stream := io.StringIO())
    handler.setFormatter(Formatter("{levelname} {name}: {message}", style="{"))
    logging.getLogger().addHandler(handler)
    yield stream
    logging.getLogger().removeHandler(handler)


def answered(batch: Batch) -> Exception | None:
    """Have the task answer the batch, as a worker does, in a frame that holds the judge's options; what it raised."""
    config = experts.judge_config(batch.expert)
    try:
        assert config["options"]
        tasks.answer_batch(batch.pk)
    except Exception as exc:
        return exc
    return None


def chain(exc: BaseException) -> Iterator[BaseException]:
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [exc]
    while waiting:
        if (one := waiting.pop()) is not None and one not in found:
            found.append(one)
            waiting += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
    return iter(found)


def reported(exc: Exception) -> dict[str, str]:
    """The error in words, and as Django reports it by mail and on its page."""
    request = RequestFactory().get("/")
    where = (request, type(exc), exc, exc.__traceback__)
    reporter = get_exception_reporter_class(request)(*where)
    mail.outbox.clear()
    handler = AdminEmailHandler(include_html=True)
    handler.emit(logging.LogRecord("django.request", logging.ERROR, __file__, 1, "failed: %s", (exc,), (type(exc), exc, exc.__traceback__)))
    (sent,) = mail.outbox
    found = {
        "its page": reporter.get_traceback_html(),
        "its text": reporter.get_traceback_text(),
        "its traceback": "".join(traceback.format_exception(exc)),
        "its mail": f"{sent.subject} {sent.body} {sent.alternatives}",
    }
    return found | {f"the words of {type(one).__name__}": f"{one} {one!r} {vars(one)}" for one in chain(exc)}


def shown(user: User, jobs_dir) -> dict[str, str]:
    """Everything that is kept, and everything that an admin can look at."""
    models = [model for label in ("annotation", "training") for model in apps.get_app_config(label).get_models()]
    found = {f"rows of {model.__name__}": serializers.serialize("json", model._default_manager.all()) for model in models}
    found |= {str(path): path.read_text(errors="replace") for path in jobs_dir.rglob("*") if path.is_file()}
    out = io.StringIO()
    call_command("export_feedback", "--all", stdout=out, stderr=out)
    found["the export"] = out.getvalue()
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    for address in addresses():
        page = client.get(address)
        assert page.status_code == 200, address
        found[address] = page.content.decode()
    return found


def addresses() -> list[str]:
    pages = [reverse(name) for name in ("batches", "experts-quality", "experiments", "experiment-new", "queue", "verdicts", "account", "api-schema")]
    pages += [reverse(name) for name in ("experts", "expert-new", "budgets", "spending", "prices")]
    pages += [reverse(name, args=[expert.alias]) for expert in Expert.objects.all() for name in ("expert", "expert-noise")]
    pages += [reverse("api-queue"), reverse("api-verdicts")]
    for found in Batch.objects.all():
        pages += [reverse("batch", args=[found.pk]), *(reverse("batch-item", args=[found.pk, item.pk]) for item in found.items.all())]
    for experiment in Experiment.objects.all():
        pages += [reverse(name, args=[experiment.name]) for name in ("experiment", "experiment-chart", "experiment-rollouts")]
    for name, of in (
        ("annotation", ("expert", "batch", "item", "claim", "feedback", "auditentry", "rollout")),
        ("training", ("experiment", "job", "stage")),
    ):
        for model in of:
            pages.append(reverse(f"admin:{name}_{model}_changelist"))
            rows = apps.get_model(name, model)._default_manager.values_list("pk", flat=True)
            pages += [reverse(f"admin:{name}_{model}_change", args=[pk]) for pk in rows]
    return pages


def leaks(found: dict[str, str]) -> list[str]:
    return [where for where, text in found.items() if any(key in text for key in KEYS)]


def records(caplog) -> str:
    """What others see who handle log records in their own way; below INFO, HTTP clients tell headers as they come."""
    plain = logging.Formatter("{levelname} {name}: {message}", style="{")
    return "\n".join(plain.format(record) for record in caplog.records if record.levelno >= logging.INFO)


@pytest.mark.django_db(transaction=True)  # what waits at a provider is written by a thread of its own
@pytest.mark.parametrize("backend", ["vllm", "claude", "claude-batches"])
def test_servers_that_quote_it_in_their_errors(backend, batch, openai, anthropic, ada, log, caplog, jobs_dir):
    server: Server = openai if backend == "vllm" else anthropic
    asked = batch(backend)
    for name, fault in FAULTS.items():
        server.faults, server.seen = [fault] * 10, []
        Outage.objects.all().delete()  # or it would rest
        exc = answered(asked)
        assert any(OF_ENVIRONMENT in str(request.headers) for request in server.seen), name
        assert isinstance(exc, GraderError | ConfigurationError), (name, exc)
        if name in ("401", "429", "529"):
            assert "***" in str(exc)
        assert leaks(reported(exc)) == [], name
    assert AuditEntry.objects.filter(verb=FAILED).count() == len(FAULTS)
    assert leaks({"the log": log.getvalue(), "records": records(caplog)} | shown(ada, jobs_dir)) == []
    assert OF_ENVIRONMENT in caplog.text  # what the clients themselves say at DEBUG, and our log does not


def refused(quote: str) -> dict:
    return {"stop_reason": "refusal", "stop_details": {"type": "refusal", "category": "keys", "explanation": quote}, "content": []}


def test_a_server_that_quotes_it_in_an_answer(batch, openai, anthropic, ada, log, caplog, jobs_dir):
    trace = TRACE.replace("Fine", QUOTED)
    openai.script = lambda body, index: {"message": {"role": "assistant", "content": trace}, "finish_reason": "stop"}
    anthropic.script = lambda params: (
        refused(QUOTED) if len(anthropic.seen) > 1 else {"content": [{"type": "text", "text": trace}], "model": OF_ENVIRONMENT}
    )
    for backend in ("vllm", "claude"):
        assert answered(batch(backend)) is None
    rows = list(Feedback.objects.all())
    assert len(rows) == 2 + 2
    assert sum("***" in row.raw for row in rows) >= 3
    assert any("***" in row.unscored_reason for row in rows)
    assert any(row.usage["models"] == ["***"] for row in rows)
    assert {row.expert_options["options"]["model"]["options"]["api_key_env"] for row in rows} == {"ACCESS_TO_MODELS"}
    assert leaks({"the log": log.getvalue(), "records": records(caplog)} | shown(ada, jobs_dir)) == []


@pytest.mark.parametrize("fault", ["in an error to come back from", "in an error for good", "in any other error", "when it is made"])
def test_somebody_else_s_judge_that_says_its_key_in_an_error(fault, batch, ada, log, caplog, jobs_dir, settings):
    exc = answered(batch("careless", Expert.Kind.PROGRAM, fault=fault))
    assert exc is not None
    logging.getLogger("celery.app.trace").error("Task raised unexpected: %r", exc, exc_info=exc)
    # That there is something to hide: Django's own report would show it, in a frame or in the settings.
    assert OF_SETTINGS in ExceptionReporter(None, type(exc), exc, exc.__traceback__).get_traceback_html()
    assert leaks({"the log": log.getvalue(), "records": records(caplog)} | reported(exc) | shown(ada, jobs_dir)) == []


@pytest.mark.parametrize("fault", ["in its words", "in its reason"])
def test_somebody_else_s_judge_that_says_its_key_in_a_verdict(fault, batch, ada, log, caplog, jobs_dir):
    assert answered(batch("careless", Expert.Kind.PROGRAM, fault=fault)) is None
    for row in Feedback.objects.all():
        assert "***" in row.critique + row.unscored_reason
        assert row.expert_options["options"] == {"fault": fault}
    assert leaks({"the log": log.getvalue(), "records": records(caplog)} | shown(ada, jobs_dir)) == []


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("eval_prompts", [3, 0], ids=["asked by the queue", "asked by the training job"])
def test_an_experiment_that_fails_by_it(eval_prompts, make, openai, ada, log, caplog, jobs_dir):
    expert = Expert.objects.create(alias="vllm", name="The model", kind=Expert.Kind.LLM, backend="vllm")
    openai.faults = [FAULTS["401"]] * 1000
    experiment = drive.drive(training.start(make("ceiling", expert=expert, eval_prompts=eval_prompts)).pk)
    assert experiment.state == Experiment.State.FAILED
    assert "answered 401: Incorrect API key provided: Bearer ***" in experiment.note
    if not eval_prompts:
        (job,) = experiment.jobs.filter(kind="rl")
        assert json.loads((job.path / "result.json").read_text())["status"] == "failed"
        assert "***" in (job.path / "log.txt").read_text()
    assert leaks({"the log": log.getvalue(), "records": records(caplog)} | shown(ada, jobs_dir)) == []


def test_what_a_worker_writes_goes_through_the_same_formatter(db, jobs_dir):
    code = f"""
import logging
from config.celery import app
import django
django.setup()
app.log.setup(loglevel="INFO", redirect_stdouts=False)
try:
    raise ValueError("{OF_ENVIRONMENT}")
except ValueError as exc:
    logging.getLogger("celery.app.trace").error("Task raised unexpected: %r", exc, exc_info=True)
    logging.getLogger("annotation.tasks").warning("failed: %s", exc)
"""
    done = subprocess.run([sys.executable, "-c", code], env=environment(jobs_dir), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    written = done.stdout + done.stderr
    assert "Task raised unexpected: ValueError('***')" in written
    assert "failed: ***" in written
    assert not leaks({"written": written.replace(code, "")})
