"""The pages about the proxy: versions, the prompts that were tried, and the page where a person writes one."""

from __future__ import annotations

import pytest

from annotation.models import Feedback, Rollout
from grading.prompts import task_digest
from tests.web import scenery
from tests.web.test_experiment_pages import text_of
from training.models import Experiment, ProxyVersion
from training.start import scalar

WRITE = "/experiments/by-prompt/prompt/"
GOOD = "Weigh the lantern.\nTask: {INSTRUCTIONS}\nStory: {CONTENT}"


@pytest.fixture
def researcher(signed_in):
    return signed_in("rosalind")


def version(found: Experiment, number: int, judge: dict, method: str, parent: ProxyVersion | None = None) -> ProxyVersion:
    return ProxyVersion.objects.create(experiment=found, number=number, method=method, judge=judge, digest=f"{number}e" * 32, parent=parent)


def test_a_version_shows_all_prompts_that_grade_its_line_and_where_they_were_tried(scene, researcher):
    scenery.prompted(scene)
    page = text_of(researcher.get("/experiments/rubric/proxies/3/"))
    assert "It grades with 2 prompts" in page
    assert "Rubric 1." in page
    assert "Rubric 3." in page
    assert "Rubric 2." not in page
    assert "<b>v3</b>" in page
    assert "from 8 verdicts (update), chosen at random" in page
    assert 'href="/experiments/rubric/proxies/2/">v2' in page
    assert 'href="/experiments/rubric/candidates/search-80/"' in page


def test_context_distillation_shows_its_traces_its_leaks_and_alignment_by_samples_seen(scene, researcher, tmp_path):
    scenery.rewritten(scene, tmp_path)
    page = text_of(researcher.get("/experiments/context/proxies/2/"))
    assert "wrote 32 traces on 8 texts" in page
    assert "24 were kept. 25.0% gave their source away." in page
    kept, rejected = page.split('id="kept"')[1].split('id="rejected"')
    assert kept.count("order slips 3, 7.") == 3
    assert rejected.count("As the expert says") == 3
    assert rejected.count("gives its source away") == 3
    assert page.count("<meter") == 3
    assert "0.33<br><small>0.23 to 0.43</small>" in page


def test_files_that_are_gone_or_broken_leave_the_rest_of_the_page(scene, researcher, tmp_path):
    scenery.rewritten(scene, tmp_path)
    (tmp_path / "rewrite-0" / "traces.jsonl").unlink()
    (tmp_path / "realign-0" / "probes.jsonl").write_text("no json\n")
    page = text_of(researcher.get("/experiments/context/proxies/2/"))
    assert "25.0% gave their source away." in page
    assert 'id="kept"' not in page
    assert "<meter" not in page


def test_a_scalar_head_is_said_to_give_scores_without_words(scene, researcher):
    found = scenery.running(scene, looks=1)
    version(found, 9, scalar(found, "/models/pocket"), "scalar-head")
    page = text_of(researcher.get("/experiments/stories/proxies/9/"))
    assert "It gives scores without words" in page
    assert "{CONTENT}" in page


def test_prompts_for_single_tasks_stand_under_their_tasks(scene, researcher):
    found = scenery.prompted(scene)
    task = scene.domain.prompts.filter(pk__in=found.config["train_prompts"]).first()
    version(found, 9, scenery.judge(found, by_task={task_digest(task.text): ["Only here: {CONTENT}"]}), "per-prompt-rubric")
    page = text_of(researcher.get("/experiments/rubric/proxies/9/"))
    assert "Prompts for single tasks: 1" in page
    assert task.text in page
    assert "Only here: {CONTENT}" in page


def test_a_version_that_was_taken_over_leads_to_where_it_was_made_for_those_who_may_see_it(scene, researcher, signed_in):
    scenery.running(scene)
    taken = ProxyVersion.objects.get(experiment__name="stories", number=4)
    hers = scenery.experiment(scene, "rahel", "hers", "Hers", "pocket-retrain", scene.program)
    made = version(hers, 1, taken.judge, taken.method, taken)
    page = text_of(signed_in("rahel").get(f"/experiments/hers/proxies/{made.number}/"))
    assert "v4 of an experiment that is not shared with you" in page
    assert "taken over as it was" in page
    assert "It has learnt from no feedback in this experiment" in page
    hers.members.add(scene.people["rosalind"])
    assert "v4 of Stories, full-trace distillation" in text_of(researcher.get("/experiments/hers/proxies/1/"))


def test_every_prompt_that_was_tried_is_in_the_table_with_its_fate_and_its_words(scene, researcher):
    found = scenery.prompted(scene)
    page = text_of(researcher.get("/experiments/rubric/candidates/search-0/"))
    rows = page.split("<tbody>")[1].split("</tbody>")[0].split("</tr>")
    assert "What the proxy had before" in rows[0]
    assert "0.58<br><small>0.48 to 0.68</small>" in rows[1]
    assert "<b>kept</b>" in rows[1]
    assert "The written prompt lacks {CONTENT}." in rows[2]
    assert "<b>kept</b>" not in rows[2]
    assert "8 of 8" in rows[3]
    assert page.count("order slips 3, 11.") == 3 * 8  # the verdicts under each
    assert "3 prompts tried" in text_of(researcher.get(f"/experiments/{found.name}/"))
    assert researcher.get("/experiments/rubric/candidates/train-0/").status_code == 404


def test_the_page_to_write_on_shows_verdicts_beside_the_proxys_traces_and_starts_from_the_prompt_there_is(scene, researcher):
    found = scenery.to_be_written(scene)
    assert f'href="{WRITE}">Write the grading prompt</a>' in text_of(researcher.get("/experiments/by-prompt/"))
    answer = researcher.get(WRITE)
    assert answer.context["form"]["text"].value() == found.config["grading_prompt"]
    page = text_of(answer)
    assert "8 texts" in page
    assert page.count("order slips 3, 11.") == 5  # the first page
    assert page.count("order holds 9, 13.") == 10
    assert "Task: Write a short story about" in page  # the preview


def test_turning_the_page_and_looking_at_the_preview_keep_the_words(scene, researcher):
    scenery.to_be_written(scene)
    answer = researcher.post(WRITE, {"text": GOOD, "page": "2"})
    assert answer.status_code == 200
    assert answer.context["form"]["text"].value() == GOOD
    assert text_of(answer).count("order slips 3, 11.") == 3
    assert "Weigh the lantern. Task: Write a short story" in text_of(answer)


@pytest.mark.parametrize(
    ("text", "message"), [("", "Write a prompt."), ("Good? {CONTENT}", "The written prompt lacks {INSTRUCTIONS}."), ("\0", "Null")]
)
def test_what_a_prompt_lacks_is_said_and_what_was_written_stays(text, message, scene, researcher):
    scenery.to_be_written(scene)
    answer = researcher.post(WRITE, {"text": text, "send": "yes"})
    assert answer.status_code == 422
    assert message in text_of(answer)
    assert answer.context["form"]["text"].value() == text
    assert "written" not in Experiment.objects.get(name="by-prompt").stages.get(key="search-0").arguments


def test_a_prompt_is_taken_with_line_breaks_as_they_are_everywhere_else(scene, researcher):
    scenery.to_be_written(scene)
    page = text_of(researcher.post(WRITE, {"text": GOOD.replace("\n", "\r\n"), "send": "yes"}, follow=True))
    assert "Thank you." in page
    assert "Grading prompt written by rosalind" in page
    assert Experiment.objects.get(name="by-prompt").stages.get(key="search-0").arguments["written"] == [GOOD]


def test_whoever_comes_second_keeps_their_words(scene, researcher):
    scenery.to_be_written(scene)
    researcher.post(WRITE, {"text": GOOD, "send": "yes"})
    answer = researcher.post(WRITE, {"text": "Mine. " + GOOD, "send": "yes"})
    assert answer.status_code == 422
    assert "waits for no grading prompt" in text_of(answer)
    assert answer.context["form"]["text"].value() == "Mine. " + GOOD


def test_where_no_prompt_is_waited_for_the_page_says_so(scene, researcher):
    scenery.waiting(scene)
    assert "No grading prompt is waited for now." in text_of(researcher.get("/experiments/by-hand/prompt/", follow=True))


def test_words_of_texts_and_traces_are_shown_as_text(scene, researcher, tmp_path):
    scenery.to_be_written(scene, content=scenery.HOSTILE)
    scenery.rewritten(scene, tmp_path)
    found = scenery.prompted(scene)
    traces = tmp_path / "rewrite-0" / "traces.jsonl"
    traces.write_text(traces.read_text().replace("order slips 3, 7.", "<script>window.hacked = true</script>"))
    candidate = found.stages.get(key="search-0").candidates.get(number=1)
    candidate.stage.candidates.create(number=7, prompts=["{CONTENT} " + scenery.HOSTILE], words=scenery.HOSTILE, note=scenery.HOSTILE[:200])
    Rollout.objects.filter(run="rubric/fresh-0").update(content=scenery.HOSTILE)
    assert Feedback.objects.filter(item__rollout__content=scenery.HOSTILE).exists()
    for address in (WRITE, "/experiments/context/proxies/2/", "/experiments/rubric/candidates/search-0/", "/experiments/rubric/proxies/2/"):
        page = researcher.get(address).content.decode()
        assert "<script>window" not in page
        assert "<img src=x" not in page
        assert "&lt;script&gt;" in page
