"""Researchers' pages of domains: loading, writing, importing, trying."""

from __future__ import annotations

import json
from unittest.mock import patch

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from annotation import domain_forms, tasks
from annotation.actions import import_rollouts
from annotation.models import AuditEntry, Domain, Prompt, Rollout
from tests.web import scenery

TYPED = {
    "name": "Riddles",
    "slug": "riddles",
    "description": "",
    "generation_prompt": "A riddle about {THING}.",
    "content_tag": "",
    "grading_prompt": "Judge\r\n{CONTENT} for {INSTRUCTIONS}.",
    "critique_tag": "critique",
    "deliberation_tag": "deliberation",
    "score_tag": "score",
    "score_min": "0",
    "score_max": "10",
    "score_required": "on",
    "score_anchors": "poor, fair ,good",
    "rubric_prompt": "",
    "context_prompt": "",
    "guidelines": "",
}


@pytest.fixture
def client(signed_in):
    return signed_in("rosalind")


@pytest.fixture
def domain(scene) -> Domain:
    return Domain.objects.create(slug="riddles", name="Riddles", generation_prompt="A riddle about {THING}.", grading_prompt="Judge {CONTENT}.")


def page(client, *names, **options) -> str:
    answer = client.get(reverse(names[0], args=names[1:]), options)
    assert answer.status_code == 200
    return answer.content.decode()


def test_with_no_domains_there_is_something_to_load(client, scene):
    Prompt.objects.all().delete()
    Domain.objects.all().delete()
    assert "No domains yet" in page(client, "domains")
    answer = client.post(reverse("domain-load", args=["research-plans"]), follow=True)
    assert "Research plans is there, with 20 new prompts." in answer.content.decode()
    listed = page(client, "domains")
    assert "Creative writing" in listed
    assert reverse("domain-load", args=["creative-writing"]) in listed
    assert reverse("domain-load", args=["research-plans"]) not in listed
    assert client.post(reverse("domain-load", args=["poems"])).status_code == 404


def test_researchers_find_domains_in_the_navigation_and_experts_do_not(signed_in, scene):
    link = f'href="{reverse("domains")}"'
    assert link in page(signed_in("rosalind"), "experiments")
    assert link not in page(signed_in("edith"), "queue")


def test_a_domain_is_made_with_its_words(client, scene):
    answer = client.post(reverse("domain-new"), TYPED)
    assert answer.headers["Location"] == "/domains/riddles/"
    made = Domain.objects.get(slug="riddles")
    assert (made.grading_prompt, made.score_anchors, made.score_max) == ("Judge\n{CONTENT} for {INSTRUCTIONS}.", ["poor", "fair", "good"], 10)
    entry = AuditEntry.objects.get(target=f"domain:{made.pk}")
    assert (entry.verb, entry.actor) == ("made", scene.people["rosalind"])


def test_the_prompt_with_the_expert_s_words_is_kept_and_where_there_is_none_the_general_words_are_shown(client, domain):
    assert "say nothing of the notes" in page(client, "domain", "riddles")
    client.post(reverse("domain-edit", args=["riddles"]), TYPED | {"context_prompt": "{GRADING}\r\nHeard: {EXPERT}"})
    domain.refresh_from_db()
    assert domain.context_prompt == "{GRADING}\nHeard: {EXPERT}"
    assert "Heard: {EXPERT}" in page(client, "domain", "riddles")
    assert AuditEntry.objects.get(verb="edited").data["before"]["context_prompt"] == ""
    answer = client.post(reverse("domain-edit", args=["riddles"]), TYPED | {"context_prompt": "{EXPERT}"})
    assert "It has no {GRADING}" in answer.content.decode()


@pytest.mark.parametrize(("name", "slug"), [("Riddles of old", "riddles-of-old"), ("謎", None)])
def test_an_address_is_made_from_the_name(name, slug, client, scene):
    answer = client.post(reverse("domain-new"), TYPED | {"name": name, "slug": ""})
    if slug:
        assert Domain.objects.get(name=name).slug == slug
    else:
        assert "No address can be made from that name" in answer.content.decode()


WRONG = [
    ({"grading_prompt": "Judge it."}, "id_grading_prompt_error", "has no {CONTENT}"),
    ({"score_tag": "critique"}, "id_score_tag_error", "Choose another"),
    ({"score_max": "0"}, "id_score_max_error", "above the lowest"),
    ({"score_min": "nan"}, "id_score_min_error", "Enter a number"),
    ({"slug": "ready"}, "id_slug_error", "address of its own"),
    ({"slug": "pocket-stories"}, "id_slug_error", "already exists"),
    ({"name": ""}, "id_name_error", "required"),
]


@pytest.mark.parametrize(("change", "place", "words"), WRONG)
def test_an_error_stands_beside_its_field_and_nothing_typed_is_lost(change, place, words, client, scene):
    answer = client.post(reverse("domain-new"), TYPED | change)
    assert answer.status_code == 422
    text = answer.content.decode()
    (error,) = [line for line in text.splitlines() if f'id="{place}"' in line]
    assert words in error
    assert "A riddle about {THING}." in text
    assert "Constraint" not in text
    assert not Domain.objects.filter(slug="riddles").exists()


def test_an_edit_keeps_what_stood_there_before_and_shows_it(client, domain, scene):
    answer = client.post(reverse("domain-edit", args=["riddles"]), TYPED | {"slug": "other", "guidelines": "Be kind."}, follow=True)
    domain.refresh_from_db()
    assert (domain.slug, domain.guidelines) == ("riddles", "Be kind.")
    text = answer.content.decode()
    assert "What stood here before" in text
    assert "Judge {CONTENT}." in text
    assert AuditEntry.objects.get(verb="edited").data["before"]["grading_prompt"] == "Judge {CONTENT}."


def test_what_a_colleague_saved_meanwhile_is_not_overwritten_unseen(client, domain, signed_in):
    seen = client.get(reverse("domain-edit", args=["riddles"])).context["seen"]
    signed_in("rahel").post(reverse("domain-edit", args=["riddles"]), TYPED | {"guidelines": "Rahel's words.", "seen": seen})
    answer = client.post(reverse("domain-edit", args=["riddles"]), TYPED | {"guidelines": "Mine.", "seen": seen})
    assert answer.status_code == 422
    assert "It was changed since you opened it" in answer.content.decode()
    assert "Mine." in answer.content.decode()
    domain.refresh_from_db()
    assert domain.guidelines == "Rahel's words."
    client.post(reverse("domain-edit", args=["riddles"]), TYPED | {"guidelines": "Mine.", "seen": answer.context["seen"]})
    domain.refresh_from_db()
    assert domain.guidelines == "Mine."
    assert AuditEntry.objects.filter(verb="edited").first().data["before"] == {"guidelines": "Rahel's words."}


def test_the_admin_keeps_it_by_the_same_action_and_refuses_the_same(signed_in, domain):
    client, address = signed_in("ada"), reverse("admin:annotation_domain_change", args=[domain.pk])
    typed = TYPED | {"score_anchors": '["a", "b"]'}
    refused = client.post(address, typed | {"score_tag": "critique"})
    assert "a trace could not be taken apart" in refused.content.decode()
    assert client.post(address, typed).status_code == 302
    assert AuditEntry.objects.get(verb="edited").data["before"]["score_max"] == 100


def test_the_preview_shows_the_typed_words_with_a_sample(client, scene):
    prompt = Prompt.objects.filter(domain=scene.domain).first()
    typed = TYPED | {"generation_prompt": "Say {OBJECT}!", "sample_prompt": prompt.pk, "sample_text": "My <score>9</score> text"}
    answer = client.post(reverse("domain-preview") + "?of=pocket-stories", typed)
    text = answer.content.decode()
    assert f"Say {prompt.variables['OBJECT']}!" in text
    assert "My ‹score&gt;9‹/score&gt; text" in text
    marked = client.post(reverse("domain-preview"), TYPED | {"grading_prompt": "{STORY}"}).content.decode()
    assert "A riddle about ‹THING›." in marked
    assert "no {CONTENT}" in marked
    assert client.post(reverse("domain-preview"), {}).status_code == 200


def test_rollouts_of_experiments_are_no_samples_and_imported_ones_are(client, scene):
    scenery.waiting(scene)
    hidden = Rollout.objects.filter(run="by-hand/sample-0").first()
    import_rollouts(scene.domain, [{"prompt": hidden.prompt.text, "content": "An imported story."}], name="elsewhere")
    for name in ("domain-edit", "domain-trial"):
        text = page(client, name, scene.domain.slug)
        assert "An imported story." in text
        assert hidden.content[:60] not in text
    answer = client.post(reverse("domain-preview") + f"?of={scene.domain.slug}", TYPED | {"sample_rollout": hidden.pk})
    assert hidden.content[:60] not in answer.content.decode()
    text = page(client, "domain", scene.domain.slug)
    assert "elsewhere" in text
    assert "1 rollout<" in text


def test_prompts_are_shown_by_split(client, scene):
    assert page(client, "domain", scene.domain.slug, split="eval").count('<span class="split">eval') == 20
    assert '<span class="split">train' not in page(client, "domain", scene.domain.slug, split="eval")
    assert page(client, "domain", scene.domain.slug, split="nonsense", page="x").count('<span class="split">') == 20


def test_guidelines_cannot_act(client, domain):
    Domain.objects.filter(pk=domain.pk).update(guidelines=scenery.HOSTILE, description=scenery.HOSTILE)
    for text in (page(client, "domain", "riddles"), page(client, "domains"), page(client, "domain-edit", "riddles")):
        assert "<script>window" not in text
        assert "<img src=x" not in text


# Importing ---------------------------------------------------------------------------------------------------------------------

LINES = "\n".join([json.dumps({"split": "train", "variables": {"THING": "a key"}}), "{", '{"split": "eval", "THING": "<b>fire</b>"}'])


def send(client, data=LINES, do="check", name="p.jsonl", headers=None, **fields):
    file = SimpleUploadedFile(name, data.encode() if isinstance(data, str) else data)
    return client.post(reverse("domain-import", args=["riddles"]), {"kind": "prompts", "file": file, "do": do} | fields, headers=headers or {})


def mark_of(answer) -> str:
    return answer.context["mark"]


def test_a_file_is_checked_first_and_comes_in_when_that_is_confirmed(client, domain, scene):
    checked = send(client)
    text = checked.content.decode()
    assert "Import the 2 good ones" in text
    assert "not valid JSON" in text
    assert not Prompt.objects.filter(domain=domain).exists()
    answer = send(client, do="import", checked=mark_of(checked))
    assert answer.headers["Location"] == "/domains/riddles/"
    assert set(domain.prompts.values_list("split", "text")) == {("train", "A riddle about a key."), ("eval", "A riddle about <b>fire</b>.")}
    assert "2 new prompts came in, 0 were there already. 1 broken rows stayed out." in client.get("/domains/riddles/").content.decode()
    assert AuditEntry.objects.get(verb="imported", target=f"domain:{domain.pk}").actor == scene.people["rosalind"]
    assert "Nothing in this file is new" in send(client).content.decode()


@pytest.mark.parametrize("change", [{"data": LINES + "\n"}, {"split": "eval"}, {"checked": ""}, {"kind": "rollouts", "name": "x"}])
def test_what_was_not_checked_does_not_come_in(change, client, domain):
    mark = mark_of(send(client))
    name = change.pop("name", "")
    file = SimpleUploadedFile("p.jsonl", change.pop("data", LINES).encode())
    answer = client.post(
        reverse("domain-import", args=["riddles"]), {"kind": "prompts", "file": file, "do": "import", "checked": mark, "name": name} | change
    )
    assert "This is not what was checked before" in answer.content.decode()
    assert not Prompt.objects.filter(domain=domain).exists()


def test_htmx_gets_the_report_and_is_sent_on(client, domain):
    headers = {"HX-Request": "true"}
    checked = send(client, headers=headers)
    answer = send(client, do="import", checked=mark_of(checked), headers=headers)
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (200, "/domains/riddles/")
    wrong = send(client, name="p.txt", headers=headers)
    assert wrong.status_code == 200
    assert "What kind of file" in wrong.content.decode()


REFUSED = [
    ({"name": "p.txt"}, "What kind of file is this"),
    ({"data": b""}, "The file is empty"),
    ({"data": b"\xff\xfe{\x00"}, "UTF-16"),
    ({"kind": "rollouts"}, "Say where these texts come from"),
    ({"data": b"no parquet", "name": "p.parquet"}, "cannot be read as Parquet"),
]


@pytest.mark.parametrize(("change", "words"), REFUSED)
def test_a_file_that_will_not_do_is_refused_with_the_reason(change, words, client, domain):
    answer = send(client, **change)
    assert answer.status_code == 422
    assert words in answer.content.decode()


def test_a_file_that_is_too_large_is_sent_to_the_command_line(client, domain, monkeypatch):
    monkeypatch.setattr(domain_forms, "MOST_BYTES", 10)
    assert "import_prompts" in send(client).content.decode()


def test_so_is_one_with_too_many_rows(client, domain, monkeypatch):
    monkeypatch.setattr(domain_forms, "MOST_ROWS", 2)
    assert "It has more than 2 rows" in send(client).content.decode()
    assert not domain.prompts.exists()


def test_rollouts_come_in_from_a_table(client, domain):
    data = "THING,content,split\na key,It opens.,train\na key,It shuts.,train\n"
    fields = {"kind": "rollouts", "name": "p.csv"}

    def post(**more):
        file = SimpleUploadedFile("p.csv", data.encode())
        return client.post(reverse("domain-import", args=["riddles"]), fields | {"name": "elsewhere", "file": file} | more)

    checked = post(do="check")
    assert "prompts made for them" in checked.content.decode()
    post(do="import", checked=mark_of(checked))
    assert list(Rollout.objects.filter(run="import:elsewhere").values_list("content", "index")) == [("It opens.", 0), ("It shuts.", 1)]


# Trials ------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def sent():
    found = []
    with patch.object(tasks.try_verdict, "apply_async", lambda args, **options: found.append(args[0])):
        yield found


def test_a_trial_is_asked_for_and_its_verdict_appears(client, scene, sent, signed_in):
    prompt = Prompt.objects.filter(domain=scene.domain).first()
    typed = {"expert": scene.program.pk, "sample_prompt": prompt.pk, "sample_text": "Mia had a lantern."}
    answer = client.post(reverse("domain-trial", args=[scene.domain.slug]), typed)
    address = answer.headers["Location"]
    assert sent[0] in address
    waiting = client.get(address).content.decode()
    assert "Waiting for a worker" in waiting
    assert f'hx-get="{address}"' in waiting
    tasks.try_verdict(sent[0])
    done = client.get(address).content.decode()
    assert "<h2>Score</h2>" in done
    assert "Mia had a lantern." in done
    assert "hx-get" not in done
    assert signed_in("rahel").get(address).status_code == 404


def test_a_trial_without_a_text_or_an_expert_asks_for_them(client, scene, sent):
    answer = client.post(reverse("domain-trial", args=[scene.domain.slug]), {"expert": scene.program.pk})
    assert answer.status_code == 422
    assert "Type a text to judge" in answer.content.decode()
    assert client.post(reverse("domain-trial", args=[scene.domain.slug]), {"expert": scene.panel.pk, "sample_text": "x"}).status_code == 422
    assert sent == []
    scene.program.active = False
    scene.program.save()
    assert "Nobody to ask" in page(client, "domain-trial", scene.domain.slug)


def test_a_preview_of_a_form_that_is_hardly_begun(client, scene):
    begun = TYPED | {"name": "", "slug": "", "score_max": "", "score_anchors": "", "sample_text": ""}
    answer = client.post(reverse("domain-preview"), begun)
    assert "A riddle about ‹THING›." in answer.content.decode()
