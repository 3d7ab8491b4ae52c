"""Every address of the site, tried by everybody: what is not theirs is not there for them."""

from __future__ import annotations

import pytest
from django.urls import URLPattern, get_resolver, reverse

from annotation import actions, trials
from annotation.models import Rollout
from tests.annotation.makers import make_rollouts
from tests.web import scenery
from training.models import Suite

PEOPLE = (None, "olga", "edith", "emil", "rosalind", "rahel", "ada")  # nobody, outsider, two experts, two researchers, admin
# Status by person, in that order. "in" is a redirect to sign-in. The claim is Edith's; the experiments are Rosalind's.
EVERYBODY = (200, 200, 200, 200, 200, 200, 200)
SIGNED_IN = ("in", 200, 302, 302, 302, 302, 302)
EXPERTS = ("in", 404, 200, 200, 404, 404, 200)
PANEL = ("in", 404, 200, 200, 404, 404, 404)  # an admin sees the queue, but is not on the panel
EDITH = ("in", 404, 200, 404, 404, 404, 404)
ADMIN = ("in", 404, 404, 404, 404, 404, 200)
RESEARCHERS = ("in", 404, 404, 404, 200, 200, 200)
ASKED = ("in", 404, 404, 404, 200, 404, 404)  # Rosalind's trial: nobody else's business
ROSALIND = ("in", 404, 404, 404, 200, 404, 200)


def posts(row):
    """The same people with a POST that works: a redirect instead of a page."""
    return tuple(302 if status == 200 else status for status in row)


def reviewers(edith, emil, admin):
    """For the API, which tells those who do not review that they do not."""
    return (401, 403, edith, emil, 403, 403, admin)


API_EDITH = (401, 404, 200, 404, 404, 404, 404)


MATRIX = {
    "login": ("GET", (200, 302, 302, 302, 302, 302, 302)),
    "logout": ("POST", (302,) * 7),
    "home": ("GET", SIGNED_IN),
    "queue": ("GET", EXPERTS),
    "review-start": ("POST", posts(PANEL)),
    "batch-finished": ("GET", PANEL),
    "guidelines": ("GET", PANEL),
    "verdicts": ("GET", EXPERTS),
    "verdict": ("GET", EDITH),
    "verdict-compare": ("POST", posts(EDITH)),
    "verdict-revise": ("GET", EDITH),
    "review": ("GET", EDITH),
    "review-draft": ("POST", EDITH),
    "review-renew": ("POST", EDITH),
    "review-prefetch": ("POST", EDITH),
    "review-counts": ("GET", EDITH),
    "review-decline": ("POST", posts(EDITH)),
    "review-release": ("POST", posts(EDITH)),
    "quality": ("GET", EXPERTS),
    "experts-quality": ("GET", ADMIN),
    "experts": ("GET", ADMIN),
    "expert-new": ("GET", ADMIN),
    "expert": ("GET", ADMIN),
    "expert-noise": ("GET", ADMIN),
    "budgets": ("GET", ADMIN),
    "budget-new": ("GET", ADMIN),
    "budget": ("GET", ADMIN),
    "budget-chart": ("GET", ADMIN),
    "budget-end": ("GET", ADMIN),
    "spending": ("GET", ADMIN),
    "spending-csv": ("GET", ADMIN),
    "prices": ("GET", ADMIN),
    "domains": ("GET", RESEARCHERS),
    "domain-new": ("GET", RESEARCHERS),
    "domain-preview": ("POST", RESEARCHERS),
    "domain-load": ("POST", posts(RESEARCHERS)),
    "domain": ("GET", RESEARCHERS),
    "domain-edit": ("GET", RESEARCHERS),
    "domain-import": ("GET", RESEARCHERS),
    "domain-trial": ("GET", RESEARCHERS),
    "domain-trial-outcome": ("GET", ASKED),
    "domain-ask": ("GET", RESEARCHERS),
    "domain-ask-stop": ("GET", RESEARCHERS),
    "domain-verdicts": ("GET", RESEARCHERS),
    "batches": ("GET", ADMIN),
    "batch": ("GET", ADMIN),
    "batch-priority": ("POST", posts(ADMIN)),
    "batch-close": ("GET", ADMIN),
    "batch-release": ("GET", ADMIN),
    "batch-item": ("GET", ADMIN),
    "batch-item-act": ("GET", ADMIN),
    "experiments": ("GET", RESEARCHERS),
    "experiment-new": ("GET", RESEARCHERS),
    "experiment-estimate": ("POST", RESEARCHERS),
    "experiment": ("GET", ROSALIND),
    "experiment-chart": ("GET", ROSALIND),
    "experiment-start": ("POST", posts(ROSALIND)),
    "experiment-pause": ("POST", posts(ROSALIND)),
    "experiment-resume": ("POST", posts(ROSALIND)),
    "experiment-change": ("GET", ROSALIND),
    "experiment-stop": ("GET", ROSALIND),
    "experiment-rollouts": ("GET", ROSALIND),
    "rollout": ("GET", ROSALIND),
    "proxy": ("GET", ROSALIND),
    "candidates": ("GET", ROSALIND),
    "experiment-prompt": ("GET", ROSALIND),
    "suites": ("GET", RESEARCHERS),
    "suite-new": ("GET", RESEARCHERS),
    "suite-estimate": ("POST", RESEARCHERS),
    "suite": ("GET", ROSALIND),
    "suite-results": ("GET", ROSALIND),
    "suite-start": ("POST", posts(ROSALIND)),
    "suite-stop": ("POST", posts(ROSALIND)),
    "suite-report": ("GET", ROSALIND),
    "suite-figure": ("GET", ROSALIND),
    "account": ("GET", ("in", *(200,) * 6)),
    "api-schema": ("GET", (401, *(200,) * 6)),
    "api-queue": ("GET", reviewers(200, 200, 200)),
    "api-claims": ("POST", reviewers(200, 201, 204)),  # Edith has a text open; the admin is on no panel
    "api-claim": ("GET", API_EDITH),
    "api-draft": ("PUT", API_EDITH),
    "api-renew": ("POST", API_EDITH),
    "api-submit": ("POST", tuple(201 if status == 200 else status for status in API_EDITH)),
    "api-decline": ("POST", API_EDITH),
    "api-release": ("POST", API_EDITH),
    "api-verdicts": ("GET", reviewers(200, 200, 200)),
    "api-revise": ("POST", reviewers(201, 404, 404)),
    "api-nowhere": ("GET", (401, *(404,) * 6)),
}
NO_ARMS = {"arms": [], "seeds": [], "bases": [], "ceiling": ""}
DATA = {"review-draft": {"critique": "words", "version": 0}, "review-decline": {"reason": "unreadable"}}
DATA |= {"api-draft": {"critique": "words"}, "api-submit": {"key": "k", "critique": "words", "score": 1}, "api-decline": {"reason": "unreadable"}}
DATA |= {"api-revise": {"key": "r", "critique": "better words", "score": 2, "reason": "I read it again"}}


@pytest.fixture
def addresses(scene) -> dict[str, str]:
    found, batch = scenery.waiting(scene)
    edith = scene.people["edith"]
    (done,) = actions.claim_next(user=edith, batch=batch)
    verdict = actions.submit_feedback(done.token, key="done", critique="Judged.", score=50, user=edith)
    (claim,) = actions.claim_next(user=edith, batch=batch)
    DATA["review-start"] = {"batch": batch.pk}
    words = {
        "batch-finished": [batch.pk],
        "verdict": [verdict.pk],
        "verdict-compare": [verdict.pk],
        "verdict-revise": [verdict.pk],
        "guidelines": [scene.domain.slug],
        "rollout": [found.name, Rollout.objects.filter(run=f"{found.name}/sample-0")[0].pk],
        "proxy": [found.name, 1],
        "candidates": [found.name, found.stages.create(number=1, kind="search", key="search-0", arguments={"step": 0, "number": 2}).key],
        "experiment-prompt": [scenery.to_be_written(scene).name],
    }
    words |= {name: [scene.domain.slug] for name in ("domain", "domain-edit", "domain-import", "domain-trial", "domain-ask")}
    trial = trials.start(user=scene.people["rosalind"], domain=scene.domain, expert=scene.program, instructions="", content="A story.")
    words |= {"domain-load": ["research-plans"], "domain-trial-outcome": [scene.domain.slug, trial]}
    asked = actions.select_batch(
        key="imported/1", title="Imported", domain=scene.domain, expert=scene.program, purpose="imported", rollouts=make_rollouts(scene.domain, 1)
    )
    words |= {name: [scene.domain.slug, asked.pk] for name in ("domain-ask-stop", "domain-verdicts")}
    words |= {name: [batch.pk] for name in ("batch", "batch-priority", "batch-close", "batch-release")}
    words |= {"batch-item": [batch.pk, claim.item_id], "batch-item-act": [batch.pk, claim.item_id, "release"]}
    suite = Suite.objects.create(
        name="empty", title="Empty", domain=scene.domain, expert=scene.program, owner=scene.people["rosalind"], config=NO_ARMS
    )
    words |= {name: [suite.name] for name in ("suite", "suite-results", "suite-start", "suite-stop")}
    words |= {"suite-report": [suite.name, "csv"], "suite-figure": [suite.name, "rewards", "svg"]}
    budget = actions.set_budget(unit="samples", limit=50, expert=scene.panel)
    words |= {name: [budget.pk] for name in ("budget", "budget-chart", "budget-end")}
    words |= {name: [scene.panel.alias] for name in ("expert", "expert-noise")}
    words |= {name: [claim.token] for name in MATRIX if name.startswith("api-")} | {"api-revise": [verdict.pk], "api-nowhere": ["nowhere"]}
    words |= {name: [] for name in ("api-schema", "api-queue", "api-claims", "api-verdicts")}
    for name in MATRIX:
        if name not in words:
            words[name] = [claim.token] if name.startswith("review") and name != "review-start" else [found.name] if "experiment" in name else []
    words |= {name: [] for name in ("experiments", "experiment-new", "experiment-estimate")}
    return {name: reverse(name, args=words[name]) for name in MATRIX}


def names_of_the_site() -> set[str | None]:
    """The names of our own addresses: the admin's are Django's."""
    found: set[str | None] = set()
    for entry in get_resolver().url_patterns:
        for pattern in getattr(entry, "url_patterns", [entry]):
            if isinstance(pattern, URLPattern) and getattr(entry, "app_name", None) != "admin":
                found.add(pattern.name)
    return found


def test_the_matrix_knows_every_address():
    assert names_of_the_site() == set(MATRIX)


@pytest.mark.parametrize("name", MATRIX)
def test_each_address_is_there_for_whom_it_is(name, addresses, signed_in):
    method, row = MATRIX[name]
    seen = []
    for person in PEOPLE:
        client = signed_in(person)
        send = getattr(client, method.lower())
        options = {"content_type": "application/json"} if name.startswith("api-") and method != "GET" else {}
        answer = send(addresses[name], DATA.get(name, {}), **options)
        to_sign_in = answer.status_code == 302 and answer["Location"].startswith("/sign-in/") and name != "logout"
        seen.append("in" if to_sign_in else answer.status_code)
    assert tuple(seen) == row


def test_home_leads_to_where_one_works(signed_in):
    where = {name: signed_in(name).get("/").headers.get("Location") for name in ("edith", "rosalind", "ada", "olga")}
    assert where == {"edith": "/review/", "rosalind": "/experiments/", "ada": "/experiments/", "olga": None}


def test_a_shared_experiment_is_seen_by_its_members(scene, signed_in):
    found, _ = scenery.waiting(scene)
    found.members.add(scene.people["rahel"])
    assert signed_in("rahel").get(f"/experiments/{found.name}/").status_code == 200


def test_a_member_who_leaves_the_panel_loses_the_text(scene, signed_in):
    _, batch = scenery.waiting(scene)
    (claim,) = actions.claim_next(user=scene.people["edith"], batch=batch)
    scene.panel.members.remove(scene.people["edith"])
    assert signed_in("edith").get(f"/review/{claim.token}/").status_code == 404


@pytest.mark.parametrize("name", ["expert-new", "expert", "expert-noise", "budget-new", "budget", "budget-end", "prices"])
def test_only_an_admin_may_send_what_changes_them(name, addresses, signed_in):
    said = [signed_in(person).post(addresses[name]).status_code for person in PEOPLE]
    assert said[:-1] == [302, 404, 404, 404, 404, 404]
    assert said[-1] in (302, 422)


@pytest.mark.parametrize("address", ["/review/start/", "/experiments/by-hand/pause/"])
def test_what_changes_something_is_not_a_link(address, scene, signed_in):
    scenery.waiting(scene)
    assert signed_in("ada").get(address).status_code == 405


def test_a_form_without_its_token_is_refused_in_the_same_style(scene):
    from django.test import Client

    client = Client(enforce_csrf_checks=True)
    client.force_login(scene.people["edith"], backend="django.contrib.auth.backends.ModelBackend")
    answer = client.post("/review/start/", {"batch": 1})
    assert answer.status_code == 403
    assert "Please send that again" in answer.content.decode()
