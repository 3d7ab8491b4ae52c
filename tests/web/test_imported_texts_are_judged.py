"""A researcher has imported texts judged: what it costs, who is asked, and the verdicts as a file."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from uuid import uuid4

import pytest

from annotation import actions
from annotation.models import AuditEntry, Batch, Expert, Feedback, Item, Price, Prompt, Rollout
from annotation.tasks import answer_batch
from tests.annotation.makers import make_rollouts


@pytest.fixture
def client(signed_in):
    return signed_in("rosalind")


@pytest.fixture
def ask(scene, client):
    """`ask(...)`: send the form; as a question what it costs, or with `key` for good."""
    prompt = Prompt.objects.filter(domain=scene.domain)[0]
    rows = [{"prompt": prompt.text, "content": f"Text {i}."} for i in range(8)]
    report = actions.import_rollouts(scene.domain, rows, name="elsewhere")
    assert (report.created, report.errors) == (8, [])

    def send(**changes):
        fields = {"run": "import:elsewhere", "expert": scene.program.pk, "times": 1} | changes
        send = client.post if "key" in fields else client.get
        return send(f"/domains/{scene.domain.slug}/ask/", fields)

    return send


def text(answer) -> str:
    return answer.content.decode()


def error(answer, field: str) -> str:
    assert answer.status_code == 422
    return text(answer).split(f'id="id_{field}_error">')[1].split("</p>")[0]


def test_it_says_what_it_costs_and_asks_nobody_before_that(scene, ask):
    Price.objects.create(name="cheap", since=date(2026, 1, 1), per_verdict=Decimal(2))
    Expert.objects.filter(pk=scene.program.pk).update(price="cheap")
    page = text(ask(texts=5))
    assert "5 texts from elsewhere" in page
    assert "<b>5 verdicts</b>: <b>about $10</b>" in page
    assert "would end early" not in page
    actions.set_budget(unit="money", limit=7, expert=scene.program)
    assert "have room for 3 of 5 verdicts by Pocket critic (a program): it would end early." in text(ask(texts=5))
    assert not Batch.objects.exists()


def test_a_program_judges_them_all_and_the_verdicts_are_a_file(scene, client, ask):
    key = uuid4()
    assert ask(key=key)["Location"] == f"/domains/{scene.domain.slug}/"
    assert ask(key=key)["Location"] == f"/domains/{scene.domain.slug}/"  # sent twice, it is one batch
    (batch,) = Batch.objects.all()
    assert (batch.title, batch.purpose, batch.experiment, batch.items.count()) == ("elsewhere: 8 texts", "imported", "", 8)
    assert answer_batch(batch.pk) == 8
    page = text(client.get(f"/domains/{scene.domain.slug}/"))
    where = f"/domains/{scene.domain.slug}/ask/{batch.pk}/verdicts.jsonl"
    assert f'href="{where}"' in page
    assert "8 of 8 done" in page
    mean = sum(score or 0 for score in Feedback.objects.values_list("score", flat=True)) / 8
    assert f"mean score {mean:.1f}" in page
    answer = client.get(where)
    assert answer["Content-Disposition"] == f'attachment; filename="verdicts-{scene.domain.slug}-{batch.pk}.jsonl"'
    rows = [json.loads(line) for line in b"".join(answer.streaming_content).splitlines()]
    assert {row["content"] for row in rows} == {f"Text {i}." for i in range(8)}
    assert {(row["expert"], row["run"], row["purpose"]) for row in rows} == {("pocket", "import:elsewhere", "imported")}


def test_people_find_them_in_their_queue_and_the_note_with_them(scene, ask, signed_in):
    ask(key=uuid4(), expert=scene.panel.pk, texts=3, times=2, note="Which of these reads like a person?")
    batch = Batch.objects.get()
    assert batch.items.count() == 6
    edith = signed_in("edith")
    page = text(edith.get("/review/"))
    assert "Which of these reads like a person?" in page
    assert "to judge texts that were brought in" in page
    review = edith.post("/review/start/", {"batch": batch.pk}, follow=True)
    assert "Text " in text(review)
    for name in ("edith", "emil"):
        user = scene.people[name]
        while claims := actions.claim_next(user=user, batch=batch):
            actions.submit_feedback(claims[0].token, key=str(claims[0].token), critique="Good.", score=60, user=user)
    batch.refresh_from_db()
    assert batch.closed is not None
    assert Feedback.objects.filter(counted=True).count() == 6


def test_asked_again_the_same_expert_gets_only_what_it_has_not_had(scene, ask):
    ask(key=uuid4(), texts=5)
    assert "fewer than 5" in error(ask(texts=5), "texts")
    assert "3 texts from elsewhere" in text(ask())
    ask(key=uuid4())
    assert Item.objects.values("rollout").distinct().count() == 8
    assert "has been asked about all of these texts" in error(ask(), "again")
    assert "8 texts from elsewhere" in text(ask(again="on"))
    assert "8 texts from elsewhere" in text(ask(expert=scene.panel.pk))


def test_asked_again_a_program_draws_anew(scene, ask):
    for _ in range(2):
        ask(key=uuid4(), again="on")
    first, second = Batch.objects.order_by("pk")
    for batch in (first, second):
        answer_batch(batch.pk)
    drawn = [[f.score for f in Feedback.objects.filter(item__batch=b).order_by("item__rollout")] for b in (first, second)]
    assert drawn[0] != drawn[1]


def test_asking_can_be_stopped_and_what_was_given_stays(scene, client, ask):
    ask(key=uuid4(), expert=scene.panel.pk)
    batch = Batch.objects.get()
    (claim,) = actions.claim_next(user=scene.people["edith"], batch=batch)
    actions.submit_feedback(claim.token, key="k", critique="Good.", score=60, user=scene.people["edith"])
    where = f"/domains/{scene.domain.slug}/ask/{batch.pk}/stop/"
    assert f'href="{where}"' in text(client.get(f"/domains/{scene.domain.slug}/"))
    assert "The panel gave 1 of 8 verdicts; these stay." in text(client.get(where))
    assert "Say why" in error(client.post(where), "reason")
    assert client.post(where, {"reason": "Wrong panel."})["Location"] == f"/domains/{scene.domain.slug}/"
    batch.refresh_from_db()
    assert batch.closed is not None
    assert AuditEntry.objects.get(verb="closed").data["reason"] == "Wrong panel."
    assert "1 of 1 done" in text(client.get(f"/domains/{scene.domain.slug}/"))
    assert "Nobody is asked any more." in text(client.get(where))
    assert "7 texts from elsewhere" in text(ask(expert=scene.panel.pk))


def test_texts_of_a_batch_that_was_closed_can_be_asked_about_again(scene, ask):
    ask(key=uuid4())
    actions.close_batch(Batch.objects.get(), actor=None, reason="wrong expert")
    assert "8 texts from elsewhere" in text(ask())


def test_those_who_stand_for_several_are_counted_as_their_rule_says(scene, ask):
    rule = {"rule": "audit", "first": "pocket", "then": "panel", "share": 0.25}
    mixed = Expert.objects.create(alias="audited", name="Audited", kind="mixed", options=rule)
    page = text(ask(expert=mixed.pk))
    assert "<b>10 verdicts</b>" in page
    assert "The panel: 2 verdicts" in page
    actions.set_budget(unit="samples", limit=1, expert=scene.panel)
    assert "have room for 1 of 2 verdicts by The panel" in text(ask(expert=mixed.pk))
    assert "its rule says how many verdicts a text gets" in error(ask(expert=mixed.pk, times=2), "times")
    Expert.objects.filter(pk=scene.panel.pk).update(active=False)
    assert "panel is not active" in error(ask(expert=mixed.pk), "expert")
    ask(expert=mixed.pk, key=uuid4())
    assert not Batch.objects.exists()


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"texts": 0}, "texts", "greater than or equal to 1"),
        ({"texts": 9}, "texts", "There are 8 that were not asked about, which is fewer than 9."),
        ({"times": 0}, "times", "greater than or equal to 1"),
        ({"run": "import:nowhere"}, "run", "Select a valid choice"),
        ({"run": "stories/sample-0"}, "run", "Select a valid choice"),
        ({"expert": 0}, "expert", "Select a valid choice"),
    ],
)
def test_what_is_wrong_is_said_beside_the_field(changes, field, words, ask):
    assert words in error(ask(**changes), field)


def test_of_a_panel_each_verdict_is_somebody_elses(scene, ask):
    assert "the panel has 2: ask for at most 2" in error(ask(expert=scene.panel.pk, times=3), "times")
    scene.panel.members.clear()
    assert "The panel has no members" in error(ask(expert=scene.panel.pk), "expert")


def test_an_expert_that_others_may_use_is_not_offered(scene, ask):
    scene.program.users.add(scene.people["rahel"])
    assert "Select a valid choice" in error(ask(), "expert")


def test_with_nothing_imported_it_leads_to_the_import(scene, client):
    make_rollouts(scene.domain, 3)
    page = text(client.get(f"/domains/{scene.domain.slug}/ask/"))
    assert "No texts yet" in page
    assert f'href="/domains/{scene.domain.slug}/import/"' in page
    assert not Rollout.objects.filter(run__startswith="import:").exists()


def test_verdicts_of_an_experiment_are_no_file_here(scene, client):
    batch = actions.select_batch(
        key="e", title="e", domain=scene.domain, expert=scene.program, purpose="eval", rollouts=make_rollouts(scene.domain, 1), experiment="stories"
    )
    assert client.get(f"/domains/{scene.domain.slug}/ask/{batch.pk}/verdicts.jsonl").status_code == 404
