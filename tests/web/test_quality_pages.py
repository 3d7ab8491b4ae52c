"""What experts and admins see of how good verdicts are."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from annotation.models import Batch, Expert, Feedback, Gold, Item, Rollout
from grading.alignment import Estimate
from tests.web import scenery


@pytest.fixture
def texts(scene) -> list[int]:
    scenery.ledger_batch(scene)
    scenery.waiting(scene)
    return list(Rollout.objects.filter(run="by-hand/sample-0").order_by("pk").values_list("pk", flat=True))


def judged(scene, who: str, rollouts, scores, *, closed: bool = True) -> None:
    """Verdicts of `who` in a batch of their own."""
    user = scene.people.get(who)
    expert = scene.panel if user else scene.program
    batch = Batch.objects.create(
        domain=scene.domain, expert=expert, key=str(uuid4()), title="Earlier", purpose="update", closed=timezone.now() if closed else None
    )
    for rollout, score in zip(rollouts, scores, strict=True):
        item = Item.objects.create(batch=batch, expert=batch.expert, rollout_id=rollout, state="done")
        now = timezone.now()
        Feedback.objects.create(
            item=item, expert=expert, author=user, key=str(uuid4()), score=score, critique="x", started=now - timedelta(minutes=4), submitted=now
        )


def test_an_expert_reads_their_own_measures_in_words(scene, texts, signed_in):
    Gold.objects.bulk_create(Gold(rollout_id=pk, score=50) for pk in texts[:4])
    judged(scene, "edith", texts[:12], [58, 60, 56, 62, 10, 20, 30, 40, 50, 60, 70, 80])
    judged(scene, "edith", texts[:6], [60, 62, 58, 64, 12, 22])
    judged(scene, "emil", texts[:12], [50, 51, 52, 53, 11, 22, 33, 44, 55, 66, 77, 88])
    page = signed_in("edith").get("/review/quality/").content.decode()
    # known scores: +8 +10 +6 +12 and +10 +12 +8 +14, mean 10; spread: six times 2^2 / 2 over 6, sqrt(2)
    for words in ("18 verdicts", "4 min", "± 1.4", "from 6 texts judged twice", "+10.0", "You score rather high."):
        assert words in page
    assert "Worth a look" in page
    assert "Nothing stands out" in page
    assert "Too few" not in page


def test_with_few_verdicts_the_page_says_what_is_missing(scene, texts, signed_in):
    judged(scene, "edith", texts[:1], [50])
    page = signed_in("edith").get("/review/quality/").content.decode()
    for words in (
        "Too few to say: 0 texts judged twice so far, 5 are needed",
        "Too few to say: 0 texts with a known score so far, 2 are needed",
        "Too few to say: 0 verdicts that can be compared so far, 8 are needed",
        "Too few to say: 0 texts that others judged too so far, 2 are needed",
    ):
        assert words in page


def test_what_is_in_an_open_batch_does_not_count_yet(scene, texts, signed_in):
    judged(scene, "edith", texts[:3], [50, 60, 70], closed=False)
    page = signed_in("edith").get("/review/quality/").content.decode()
    assert "Nothing to measure yet" in page
    assert "batches that are still open" in page


def test_who_has_judged_nothing_is_sent_to_the_queue(signed_in):
    page = signed_in("emil").get("/review/quality/").content.decode()
    assert "Once you have judged texts" in page


def test_an_expert_learns_neither_names_nor_controls(scene, texts, signed_in):
    Gold.objects.bulk_create(Gold(rollout_id=pk, score=50) for pk in texts[:4])
    judged(scene, "edith", texts[:6], [58, 60, 56, 62, 10, 20])
    judged(scene, "emil", texts[:6], [50, 51, 52, 53, 11, 22])
    page = signed_in("edith").get("/review/quality/").content.decode()
    assert "emil" not in page
    for pk in texts[:6]:
        assert Rollout.objects.get(pk=pk).content[:40] not in page


def test_an_admin_sees_all_raters_of_a_domain_people_first(scene, texts, signed_in):
    judged(scene, "program", texts[:6], [20, 30, 40, 50, 60, 70])
    judged(scene, "edith", texts[:6], [25, 35, 45, 55, 65, 75])
    judged(scene, "edith", texts[:5], [25, 35, 45, 55, 65])
    page = signed_in("ada").get("/experts/quality/").content.decode()
    assert page.index(">edith<") < page.index(f">{scene.program.name}<")
    for words in ("person", "program", "11", "Krippendorff", "Too few repeats", "6 texts"):
        assert words in page
    assert f"how steady they are: {scene.program.name}." in page


def test_the_table_is_of_one_domain_and_another_can_be_chosen(scene, texts, signed_in):
    judged(scene, "edith", texts[:2], [25, 35])
    client = signed_in("ada")
    assert f'value="{scene.domain.slug}" selected' in client.get("/experts/quality/").content.decode()
    page = client.get("/experts/quality/?domain=short-stories").content.decode()
    assert "Nothing judged" in page
    assert client.get("/experts/quality/?domain=nothing").status_code == 404


def test_it_is_said_where_not_all_verdicts_count(scene, texts, signed_in, monkeypatch):
    monkeypatch.setattr("annotation.quality.MOST", 2)
    judged(scene, "edith", texts[:3], [25, 35, 45])
    page = signed_in("ada").get("/experts/quality/").content.decode()
    assert "this rests on the latest 2 of people" in page


def test_before_anybody_judged_the_table_is_empty(signed_in):
    page = signed_in("ada").get("/experts/quality/").content.decode()
    assert "Nothing judged yet" in page


def test_a_name_with_markup_is_text(scene, texts, signed_in):
    Expert.objects.filter(pk=scene.program.pk).update(name=scenery.HOSTILE[:110])
    judged(scene, "program", texts[:2], [25, 35])
    assert "<script>window" not in signed_in("ada").get("/experts/quality/").content.decode()


@pytest.mark.parametrize(
    ("estimate", "words"),
    [
        (Estimate(3.0, 1.0, 5.0, 9), "You score rather high."),
        (Estimate(-3.0, -5.0, -1.0, 9), "You score rather low."),
        (Estimate(1.0, -1.0, 3.0, 9), ""),
    ],
)
def test_a_lean_is_named_where_the_interval_leaves_out_zero(scene, texts, estimate, words):
    from dataclasses import replace

    from annotation import quality
    from annotation.views.quality import readings

    judged(scene, "edith", texts[:3], [25, 35, 45])
    ((_, measures),) = quality.own(scene.people["edith"])
    reading = readings(replace(measures, bias=estimate, error=estimate))[2]
    assert reading.do.startswith(words)
    assert reading.verdict == ("look" if words else "good")
