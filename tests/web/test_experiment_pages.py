"""The researcher's pages: what they show of the rows, what their forms take and refuse."""

from __future__ import annotations

import json

import pytest

from annotation.models import AuditEntry, Feedback, ProxyGrade, Rollout
from tests.web import scenery
from training.models import Experiment
from training.paper import EVERY


@pytest.fixture
def researcher(signed_in):
    return signed_in("rosalind")


def text_of(answer) -> str:
    return " ".join(answer.content.decode().split())


def test_an_experiment_tells_what_it_does_and_what_was_measured(scene, researcher):
    scenery.running(scene)
    page = text_of(researcher.get("/experiments/stories/"))
    assert "RL on the policy with proxy v4: steps 60 to 90." in page
    assert "RL on the policy: 12 of 30 RL steps" in page
    assert '<progress id="job-progress-' in page
    assert "78.0<br><small>75.2 to 80.8</small>" in page  # expert reward at step 60 with its interval
    assert "240 <em>of 2,816</em>" in page  # expert samples: 3 x (48 eval + 32 to teach)
    assert "No ceiling experiment of this domain is done yet" in page
    assert "Started by rosalind" in page


def test_a_waiting_experiment_says_for_how_many_verdicts(scene, researcher):
    scenery.waiting(scene)
    page = text_of(researcher.get("/experiments/by-hand/"))
    assert "Waiting for experts" in page
    assert "The panel: 0 of 6 verdicts" in page


def test_a_failed_job_shows_its_reason_its_advice_and_the_end_of_its_log_as_text(scene, researcher, tmp_path):
    scenery.failed(scene, tmp_path / "train-0")
    page = text_of(researcher.get("/experiments/broken/"))
    assert "62% of the rollouts of step 7 were unscored" in page
    assert "Give the proxy more tokens" in page
    assert "step 7: reward 60.8, unscored 62%" in page
    assert "&lt;script&gt;window.hacked = true&lt;/script&gt;" in page
    assert "<script>window" not in page


def test_the_chart_gets_rewards_with_bounds_and_the_realignments(scene, researcher):
    scenery.running(scene)
    chart = researcher.get("/experiments/stories/chart/").json()
    at = chart["steps"].index(30)
    assert (chart["expert"][at], chart["expert_low"][at], chart["expert_high"][at]) == (66.0, 63.2, 68.8)
    assert chart["expert"][at + 1] is None  # between looks only the reward in training is known
    assert chart["training"][at + 1] is not None
    assert chart["realigned"] == [{"step": 0, "label": "v2"}, {"step": 30, "label": "v3"}, {"step": 60, "label": "v4"}]


def test_checks_falls_and_roll_backs_are_in_the_rounds_and_in_the_chart(scene, researcher):
    scenery.prompted(scene)
    page = text_of(researcher.get("/experiments/rubric/"))
    row = page.split('<tr class="fell">')[1].split("</tr>")[0]
    assert "over-optimised: expert reward fell" in row
    assert "went back to step 40" in row
    assert "54.1<br><small>51.2 to 57.0</small>" in row
    assert '<td class="num">0.62</td>' in row  # KL
    assert page.count("over-optimised") == 1
    chart = researcher.get("/experiments/rubric/chart/").json()
    assert [chart["check"][chart["steps"].index(step)] for step in (40, 80)] == [61.4, 54.1]
    assert chart["backs"] == [{"step": 80, "label": "back to 40"}]


def test_columns_that_nothing_was_measured_for_are_left_out(scene, researcher):
    scenery.running(scene)
    page = text_of(researcher.get("/experiments/stories/"))
    assert ">Check</th>" not in page
    assert ">KL<" not in page


def test_rounds_of_another_protocol_than_todays_are_shown_without_falls(scene, researcher):
    found = scenery.prompted(scene)
    found.stages.filter(key="sample-40").update(key="glance-40")
    page = researcher.get("/experiments/rubric/")
    assert page.status_code == 200
    assert "over-optimised" not in text_of(page)


def test_cheap_signs_are_shown_as_hints_and_only_where_there_are_any(scene, researcher):
    scenery.prompted(scene)
    scenery.running(scene)
    signs = text_of(researcher.get("/experiments/rubric/")).split('id="signs"')[1].split("</section>")[0]
    assert "not measurements" in signs
    assert "Texts became longer: from 54 tokens on average (steps 1 to 10) to 80 (steps 79 to 88)." in signs
    assert 'aria-labelledby="signs-title" hidden>' in text_of(researcher.get("/experiments/stories/"))


def test_proxy_versions_show_the_verdicts_they_learnt_from(scene, researcher):
    scenery.running(scene)
    assert "32 verdicts" in text_of(researcher.get("/experiments/stories/proxies/2/"))
    assert "order slips 3, 11." in text_of(researcher.get("/experiments/stories/proxies/2/"))
    assert "It has learnt from no feedback" in text_of(researcher.get("/experiments/stories/proxies/1/"))
    assert researcher.get("/experiments/stories/proxies/9/").status_code == 404


def test_rollouts_are_filtered_by_step_and_purpose_and_paged(scene, researcher):
    scenery.running(scene)
    everything = text_of(researcher.get("/experiments/stories/rollouts/"))
    assert "240 texts" in everything  # 3 looks x (48 + 32)
    assert "Page 1 of 10" in everything
    assert "96 texts" not in everything
    assert "48 texts" in text_of(researcher.get("/experiments/stories/rollouts/?step=30&purpose=eval"))
    assert "32 texts" in text_of(researcher.get("/experiments/stories/rollouts/?step=0&purpose=initial"))
    assert "No rollouts like that" in text_of(researcher.get("/experiments/stories/rollouts/?purpose=training"))


@pytest.mark.parametrize("query", ["step=x", "step=-1", "step=99999999999", "step=²", "purpose=nonsense", "page=0", "page=zzz", "page=9999"])
def test_a_strange_filter_does_no_harm(query, scene, researcher):
    scenery.running(scene, looks=1)
    assert researcher.get(f"/experiments/stories/rollouts/?{query}").status_code == 200


def test_a_rollout_shows_proxy_traces_and_verdicts_as_text(scene, researcher):
    found = scenery.running(scene, looks=1)
    rollout = Rollout.objects.filter(proxy_grades__isnull=False).order_by("prompt_id", "index").first()
    Rollout.objects.filter(pk=rollout.pk).update(content=scenery.HOSTILE, completion=f"<story>{scenery.HOSTILE}</story>")
    ProxyGrade.objects.filter(rollout=rollout).update(critique=scenery.HOSTILE, raw=scenery.HOSTILE)
    for row in Feedback.objects.filter(item__rollout=rollout):
        Feedback.objects.filter(pk=row.pk).update(current=False)
        row.pk, row.key, row.revision = None, f"{row.key}-2", 2
        row.critique = row.deliberation = scenery.HOSTILE
        row.save()
    for address in (
        f"/experiments/{found.name}/rollouts/{rollout.pk}/",
        f"/experiments/{found.name}/rollouts/?step=0&purpose=eval",
        f"/experiments/{found.name}/proxies/2/",
    ):
        page = researcher.get(address).content.decode()
        assert "<script>window" not in page
        assert "<img src=x" not in page
        assert "&lt;script&gt;" in page or "proxies" in address
    assert "&lt;story&gt;" in researcher.get(f"/experiments/{found.name}/rollouts/{rollout.pk}/").content.decode()


def test_a_rollout_of_another_experiment_is_not_found_here(scene, researcher):
    scenery.running(scene, looks=1)
    scenery.running(scene, name="hers", owner="rahel", looks=1)
    other = Rollout.objects.filter(run__startswith="hers/").first()
    assert researcher.get(f"/experiments/stories/rollouts/{other.pk}/").status_code == 404


def test_stopping_asks_first_and_keeps_the_reason(scene, researcher):
    scenery.waiting(scene)
    assert "Stop this experiment?" in text_of(researcher.get("/experiments/by-hand/stop/"))
    assert "Say why" in text_of(researcher.post("/experiments/by-hand/stop/", {}))
    assert Experiment.objects.get(name="by-hand").state == "waiting"
    page = text_of(researcher.post("/experiments/by-hand/stop/", {"reason": "<b>wrong</b> domain"}, follow=True))
    assert "Stopped: &lt;b&gt;wrong&lt;/b&gt; domain" in page
    assert AuditEntry.objects.filter(target="experiment:by-hand", verb="stopped", actor__username="rosalind").exists()


def test_what_cannot_be_done_now_is_said(scene, researcher):
    scenery.waiting(scene)
    page = text_of(researcher.post("/experiments/by-hand/resume/", follow=True))
    assert "cannot be resumed: it is waiting for experts" in page


def test_pausing_and_going_on(scene, researcher):
    scenery.waiting(scene)
    assert "Resume" in text_of(researcher.post("/experiments/by-hand/pause/", follow=True))
    assert Experiment.objects.get(name="by-hand").state == "paused"


def test_changing_asks_only_what_the_protocol_uses_and_keeps_the_reason(scene, researcher):
    scenery.waiting(scene)
    scenery.experiment(scene, "rosalind", "later", "Later", "pocket-ceiling", scene.program)
    assert 'name="strategy"' in text_of(researcher.get("/experiments/by-hand/change/"))
    assert 'name="strategy"' not in text_of(researcher.get("/experiments/later/change/"))
    assert "Say why" in text_of(researcher.post("/experiments/later/change/", {"expert": scene.program.pk, "sample_budget": 9}))
    researcher.post("/experiments/later/change/", {"expert": scene.program.pk, "sample_budget": 9999, "reason": "more money"})
    assert Experiment.objects.get(name="later").sample_budget == 9999
    assert AuditEntry.objects.get(target="experiment:later", verb="changed").data["reason"] == "more money"


def test_an_empty_list_leads_to_the_form(scene, researcher):
    assert "No experiments yet" in text_of(researcher.get("/experiments/"))


def form_of(researcher, preset: str = "pocket-full-trace", **changes: object) -> dict[str, object]:
    """The form's own values, as a browser would send them."""
    form = researcher.get("/experiments/new/", {"preset": preset}).context["form"]
    values = {name: form[name].value() for name in form.fields}
    return {name: "" if value is None else value for name, value in values.items()} | {"title": "Mine"} | changes


def test_the_form_makes_a_draft_with_the_plan_as_filled_in(scene, researcher):
    data = form_of(researcher, domain=scene.domain.pk, expert=scene.program.pk, steps=12, segment=4, learning_rate="0.0001", draft="yes")
    answer = researcher.post("/experiments/new/", data)
    assert answer["Location"] == "/experiments/mine/"
    found = Experiment.objects.get(name="mine")
    assert (found.plan.steps, found.plan.segment, found.plan.learning_rate, found.plan.protocol) == (12, 4, 0.0001, "full-trace")
    assert (found.owner.username, found.state, found.seed) == ("rosalind", "draft", 1)
    assert "Not started yet" in text_of(researcher.get("/experiments/mine/"))


def test_a_title_used_twice_gets_another_name(scene, researcher):
    data = form_of(researcher, domain=scene.domain.pk, expert=scene.program.pk, draft="yes")
    assert [researcher.post("/experiments/new/", data)["Location"] for _ in range(2)] == ["/experiments/mine/", "/experiments/mine-2/"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"title": ""}, "Give it a title"),
        ({"name": "no spaces please"}, "A name has 1 to 80 letters"),
        ({"domain": "999"}, "Select a valid choice"),
        ({"expert": ""}, "Choose who gives the ground truth."),
        ({"policy": "/no/such/model"}, "There is no folder /no/such/model."),
        ({"sample_budget": "0"}, "A budget of 0 asks the expert nothing"),
        ({"sample_budget": "3"}, "3 expert samples are too few"),
        ({"steps": "0"}, "This must be more than 0"),
        ({"steps": "many"}, "Enter a whole number."),
        ({"steps": ""}, "A number is needed here."),
        ({"group": "1"}, "A group needs at least 2 rollouts"),
        ({"seed": "-5"}, "A seed is a whole number"),
        ({"learning_rate": "nan"}, "Enter a number."),
        ({"preset": "nonsense"}, "nonsense is not one of the available choices"),
    ],
)
def test_what_is_wrong_in_the_form_is_said_and_what_was_typed_stays(changes, message, scene, researcher):
    data = form_of(researcher, domain=scene.domain.pk, expert=scene.program.pk, eval_prompts=7) | changes
    answer = researcher.post("/experiments/new/", data)
    assert answer.status_code == 422
    assert message in text_of(answer)
    assert 'name="eval_prompts" value="7"' in text_of(answer)
    assert not Experiment.objects.exists()


def test_people_cannot_be_the_ceiling(scene, researcher):
    answer = researcher.post("/experiments/new/", form_of(researcher, "pocket-ceiling", domain=scene.domain.pk, expert=scene.panel.pk))
    assert "needs an expert that answers by itself" in text_of(answer)


def test_the_estimate_follows_the_numbers(scene, researcher):
    data = form_of(
        researcher, domain=scene.domain.pk, expert=scene.program.pk, steps=60, segment=30, initial=100, update=50, eval_prompts=10, eval_rollouts=4
    )
    # looks at 0, 30 and 60: 3 x 10 x 4 = 120 to measure; 100 at 0 and 50 at 30 to teach
    assert "<b>270 verdicts</b>: 120 to measure, 100 to teach first, 50 to teach again" in text_of(
        researcher.post("/experiments/new/estimate/", data)
    )
    with_controls = data | {"repeat_share": 0.05, "gold_share": 0.1}
    # of looks of 40: 2 and 4, three times; of 100: 5 and 10; of 50: 2 and 5
    assert "<b>310 verdicts</b>: 120 to measure, 40 at most as hidden repeats and gold items" in text_of(
        researcher.post("/experiments/new/estimate/", with_controls)
    )
    assert "The budget of 200 ends it earlier." in text_of(researcher.post("/experiments/new/estimate/", data | {"sample_budget": 200}))


@pytest.mark.parametrize("changes", [{"steps": "x"}, {"segment": 0}, {"steps": 10**9, "segment": 1}, {"strategy": "nonsense"}, {"per_prompt": -4}])
def test_numbers_that_make_no_plan_are_not_counted(changes, scene, researcher):
    data = form_of(researcher, domain=scene.domain.pk, expert=scene.program.pk) | changes
    answer = researcher.post("/experiments/new/estimate/", data)
    assert answer.status_code == 200
    assert "Cannot be counted yet" in text_of(answer) or "strategy" in changes


def test_every_preset_is_in_one_group_of_the_form_and_the_group_of_the_chosen_one_is_open(scene, researcher):
    groups = researcher.get("/experiments/new/", {"preset": "pocket-ceiling"}).context["form"].groups()
    assert sorted(option["preset"] for group in groups for option in group["options"]) == sorted(EVERY)
    assert [group["open"] for group in groups] == [False, True, False, False]
    titles = [option["title"] for group in groups for option in group["options"]]
    assert len(set(titles)) == len(titles)


def test_retraining_says_what_it_lacks_or_offers_the_versions_one_may_see(scene, researcher, signed_in):
    scenery.running(scene, name="hers", owner="rahel")
    lacking = text_of(researcher.get("/experiments/new/", {"preset": "pocket-retrain"}))
    assert "There is no proxy version to take over yet." in lacking
    assert 'name="proxy_version"' not in lacking
    assert "Stories, full-trace distillation: proxy v4" in text_of(signed_in("rahel").get("/experiments/new/", {"preset": "pocket-retrain"}))


def test_another_preset_keeps_what_was_typed_elsewhere(scene, researcher):
    page = researcher.get("/experiments/new/", {"preset": "pocket-weak-proxy", "title": "Kept", "seed": "9", "steps": "1"})
    form = page.context["form"]
    assert (form["title"].value(), form["seed"].value(), form["steps"].value()) == ("Kept", "9", 60)


def test_the_live_parts_of_the_page_are_all_there_to_be_swapped(scene, researcher):
    """Each id that a refresh replaces exists in every state, or the page would go stale unseen."""
    scenery.running(scene, looks=1)
    scenery.experiment(scene, "rosalind", "later", "Later", "pocket-ceiling", scene.program)
    for name in ("stories", "later"):
        page = researcher.get(f"/experiments/{name}/").content.decode()
        ids = page.split('hx-select-oob="')[1].split('"')[0].split(",")
        assert len(ids) == 8
        assert all(page.count(f'id="{name[1:]}"') == 1 for name in ids)


def test_the_chart_of_an_experiment_that_has_not_begun_is_empty(scene, researcher):
    scenery.experiment(scene, "rosalind", "later", "Later", "pocket-ceiling", scene.program)
    chart = json.loads(researcher.get("/experiments/later/chart/").content)
    assert (chart["steps"], chart["training_by"]) == ([], "expert")
