"""Texts that were written elsewhere, into rollouts: each once, with its prompt, ready to be reviewed."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotation import actions
from annotation.errors import InvalidSelection
from annotation.models import AuditEntry, Prompt, Rollout
from tests.annotation.makers import claim_one, make_batch, make_domain, submit


def row(topic="the sea", content="A story.", **fields):
    return {"variables": {"TOPIC": topic}, "content": content} | fields


def bring(domain, *rows, name="mine", split="train", **options):
    return actions.import_rollouts(domain, rows, name=name, split=split, **options)


def counts(report):
    return (report.created, report.existing, report.broken)


def test_a_text_comes_in_with_its_prompt(domain, alice):
    report = bring(domain, row(step=3, index=2, checkpoint="ab" * 32, tokens="9", finished="no", sampling={"temperature": 0.7}), actor=alice)
    assert (*counts(report), report.prompts) == (1, 0, 0, 1)
    rollout = Rollout.objects.get()
    assert (rollout.run, rollout.step, rollout.index, rollout.checkpoint) == ("import:mine", 3, 2, "ab" * 32)
    assert (rollout.completion, rollout.content, rollout.tokens, rollout.finished) == ("A story.", "A story.", 9, False)
    assert rollout.sampling == {"temperature": 0.7}
    assert (rollout.prompt.text, rollout.prompt.split) == ("Write about the sea.", "train")
    entry = AuditEntry.objects.get(verb="imported rollouts")
    assert (entry.actor, entry.data["run"], entry.data["created"], entry.data["prompts"]) == (alice, "import:mine", 1, 1)


def test_what_came_in_can_be_reviewed(domain, panel, alice):
    bring(domain, row())
    make_batch(panel, domain, [Rollout.objects.get().pk])
    claim = claim_one(alice)
    assert claim.item.rollout.content == "A story."
    assert submit(claim, user=alice).score == 50


def test_a_prompt_is_named_by_its_text_its_variables_or_columns(domain):
    actions.import_prompts(domain, "eval", [{"variables": {"TOPIC": "the sea"}}])
    rows = [
        {"prompt": "Write about the sea.", "content": "One."},
        {"TOPIC": "the sea", "content": "Two."},
        {"variables": '{"TOPIC": "the sea"}', "content": "Three."},
    ]
    report = bring(domain, *rows)
    assert (counts(report), report.prompts) == ((3, 0, 0), 0)
    assert list(Rollout.objects.values_list("prompt__split", "index")) == [("eval", 0), ("eval", 1), ("eval", 2)]


def test_a_new_prompt_needs_a_split(domain):
    report = bring(domain, row("a"), row("b", split="eval"), row("a", split="train"), row("a", "Two."), split=None)
    assert counts(report) == (3, 0, 1)
    assert report.errors == [(1, "this prompt is new to the domain: say whether it goes to the train or the eval split")]
    assert dict(Prompt.objects.values_list("text", "split")) == {"Write about b.": "eval", "Write about a.": "train"}


def test_a_row_cannot_move_a_prompt_to_the_other_split(domain):
    bring(domain, row("a"))
    report = bring(domain, row("a", "Two.", split="eval"), row("b", split="train"), row("b", "Two.", split="eval"), split=None)
    assert report.errors == [(1, "this prompt is in the train split already"), (3, "this prompt is in the train split already")]


def test_the_text_is_taken_out_of_its_tag(db):
    domain = make_domain(content_tag="story")
    report = bring(domain, {"TOPIC": "a", "completion": "Hm. <story>It was.</story>"}, {"TOPIC": "a", "completion": "It was."})
    assert counts(report) == (1, 0, 1)
    assert Rollout.objects.get().content == "It was."
    assert "no text in <story>" in report.errors[0][1]
    assert "call the column content" in report.errors[0][1]


def test_bringing_the_same_file_in_again_changes_nothing(domain):
    rows = [row("a", "One."), row("a", "Two."), row("b", "One."), row("a", "Three.", index=7), row("a", "Four.")]
    assert counts(bring(domain, *rows)) == (5, 0, 0)
    before = list(Rollout.objects.order_by("pk").values_list("pk", "index"))
    assert [index for _, index in before] == [0, 1, 0, 7, 8]
    assert counts(bring(domain, *rows)) == (0, 5, 0)
    assert list(Rollout.objects.order_by("pk").values_list("pk", "index")) == before
    assert counts(bring(domain, *rows, name="other")) == (5, 0, 0)


def test_another_text_in_a_place_that_is_taken_is_named(domain):
    report = bring(domain, row(index=0), row(content="Another.", index=0), row(content="Another."))
    assert counts(report) == (2, 0, 1)
    assert report.errors == [(2, "step 0, index 0 of this prompt is another text already: leave the index out, or import under another name")]
    assert bring(domain, row(content="Late.", index=0)).broken == 1


BROKEN = [
    ({"variables": {"TOPIC": "a"}}, "neither completion nor content"),
    ({"variables": {"TOPIC": "a"}, "content": " "}, "the text is empty"),
    ({"variables": {"TOPIC": "a"}, "content": 3}, "content must be a text, not a int"),
    ({"content": "x"}, "names no prompt"),
    ({"content": "x", "prompt": ""}, "prompt must be the text"),
    ({"content": "x", "prompt": "p", "sorce": "y"}, "unknown key sorce"),
    ({"content": "x", "variables": {}}, "the prompt needs TOPIC"),
    (row(step=-1), "step must be a whole number from 0 on, not '-1'"),
    (row(step="2.5"), "step must be"),
    (row(index=2**31), "index must be"),
    (row(index=True), "index must be"),
    (row(tokens="many"), "tokens must be"),
    (row(finished="perhaps"), "finished must be true or false"),
    (row(checkpoint="x" * 65), "at most 64 characters"),
    (row(sampling=[1]), "sampling must be an object"),
    (row(sampling={"t": float("nan")}), "sampling must be an object"),
    (row(split="test"), "split must be train or eval, not 'test'"),
    ("{", "not valid JSON"),
]


@pytest.mark.parametrize(("broken", "words"), BROKEN, ids=range(len(BROKEN)))
def test_a_broken_row_says_what_is_wrong_and_the_rest_goes_in(broken, words, domain):
    report = bring(domain, row("x"), broken, row("y"))
    assert counts(report) == (2, 0, 1)
    ((number, message),) = report.errors
    assert number == 2
    assert words in message


@pytest.mark.parametrize("name", ["", "  ", "x" * 101])
def test_an_import_needs_a_name(name, domain):
    with pytest.raises(InvalidSelection, match="Give the import a name"):
        bring(domain, row(), name=name)


def test_characters_that_cannot_be_stored_cost_no_row(domain):
    assert bring(domain, row("a\0b", "x\0y\ud800", checkpoint="\0")).created == 1
    assert Rollout.objects.get().content == "x\ufffdy\ufffd"


def test_a_dry_run_says_the_same_and_keeps_nothing(domain):
    report = bring(domain, row(), row(), row(step=-1), dry_run=True)
    assert (*counts(report), report.prompts) == (1, 1, 1, 1)
    assert not Rollout.objects.exists()
    assert not Prompt.objects.exists()
    assert not AuditEntry.objects.exists()


def test_many_texts_of_one_prompt_come_in_with_few_queries(domain):
    texts = [row("a", f"Story {i}.") for i in range(2500)]
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert bring(domain, *texts).created == 2500
    assert len(queries) < 40
    assert set(Rollout.objects.values_list("index", flat=True)) == set(range(2500))


TEXTS = st.sampled_from(["One.", "Two.", "Three."])
ROWS = st.lists(st.tuples(st.sampled_from("ab"), TEXTS, st.sampled_from([0, 1]), st.sampled_from([None, 0, 1, 2])), max_size=12)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, cut=st.integers(0, 12), chunk=st.sampled_from([1, 3, 1000]))
def test_no_text_is_lost_and_none_comes_twice_however_a_file_is_cut(rows, cut, chunk, domain, monkeypatch):
    from annotation.actions import importing

    Rollout.objects.all().delete()
    monkeypatch.setattr(importing, "AT_ONCE", chunk)
    given_rows = [row(topic, text, step=step, **({} if index is None else {"index": index})) for topic, text, step, index in rows]
    reports = [bring(domain, *given_rows[:cut]), bring(domain, *given_rows[cut:])]
    assert sum(report.rows for report in reports) == len(rows)
    kept = set(Rollout.objects.values_list("prompt__variables__TOPIC", "content", "step"))
    broken = {number + offset for report, offset in zip(reports, (0, cut), strict=True) for number, _ in report.errors}
    assert all((topic, text, step) in kept for n, (topic, text, step, _) in enumerate(rows, start=1) if n not in broken)
    places = list(Rollout.objects.order_by("pk").values_list("pk", "prompt", "step", "index", "content"))
    again = bring(domain, *[line for n, line in enumerate(given_rows, start=1) if n not in broken])
    assert again.created == 0
    assert list(Rollout.objects.order_by("pk").values_list("pk", "prompt", "step", "index", "content")) == places


def test_the_command_names_the_import_after_its_file(domain, tmp_path):
    file = tmp_path / "outputs of gpt.csv"
    file.write_text("TOPIC,content,split\na,One.,train\nb,,train\n")
    out, err = StringIO(), StringIO()
    with pytest.raises(CommandError, match="1 of"):
        call_command("import_rollouts", str(file), "--domain=stories", stdout=out, stderr=err)
    assert "stories: 1 new (1 prompts made for them), 0 there already, 1 broken" in out.getvalue()
    assert "line 3: has neither completion nor content" in err.getvalue()
    assert Rollout.objects.get().run == "import:outputs of gpt"


def test_the_command_reads_a_folder_that_datasets_saved(domain, tmp_path):
    import datasets

    rows = [{"prompt": "Write about a.", "completion": f"Story {i}.", "step": i, "extra": None} for i in range(3)]
    datasets.DatasetDict({"test": datasets.Dataset.from_list(rows)}).save_to_disk(str(tmp_path / "d"))
    out = StringIO()
    call_command("import_rollouts", str(tmp_path / "d"), "--domain=stories", "--name=theirs", stdout=out)
    assert "3 new (1 prompts made for them)" in out.getvalue()
    assert Prompt.objects.get().split == "eval"
    (tmp_path / "none.jsonl").write_text(json.dumps(row()))
    call_command("import_rollouts", str(tmp_path / "none.jsonl"), "--domain=stories", "--dry-run", "--split=train", stdout=out)
    assert "1 would be new" in out.getvalue()
    assert Rollout.objects.count() == 3
