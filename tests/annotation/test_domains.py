"""Domains: those that come with Touchstone, and how one is written and kept."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from annotation import actions, readers, ready
from annotation.errors import InvalidDomain
from annotation.models import AuditEntry, Domain, Prompt
from annotation.preview import preview
from annotation.validation import domain_problems
from grading.prompts import placeholders
from tests.annotation.makers import make_domain

SIZES = {"creative-writing": (500, 150), "research-plans": (14, 6)}


def test_the_ready_domains_are_these():
    assert ready.names() == sorted(SIZES)
    with pytest.raises(KeyError):
        ready.read("../annotation")


@pytest.mark.parametrize("name", SIZES)
def test_a_ready_domain_is_complete_and_right(name):
    domain = Domain(slug=name, **ready.read(name).fields)
    assert domain_problems(domain) == {}
    shown = preview(domain)
    assert (shown.errors, shown.notes) == ([], [])  # asks for its tags, and has all placeholders
    assert domain.description
    assert domain.guidelines
    assert domain.score_anchors
    assert placeholders(domain.rubric_prompt) == ["EXAMPLES", "INSTRUCTIONS", "CONTENT"]
    for tag in ("grading_prompt", *domain.trace_format.tags):
        assert f"<{tag}>" in domain.rubric_prompt


@pytest.mark.parametrize("name", SIZES)
def test_its_prompts_are_all_there_and_all_different(name):
    rows = [row.values or {} for row in readers.rows(ready.read(name).prompts)]
    splits = [row["split"] for row in rows]
    assert (splits.count("train"), splits.count("eval")) == SIZES[name]
    wanted = placeholders(ready.read(name).fields["generation_prompt"])
    assert all(list(row["variables"]) == wanted for row in rows)
    texts = [row["variables"][wanted[0]] for row in rows]
    assert len({text.casefold() for text in texts}) == len(texts)
    lengths = [len(text.split()) for text in texts]
    assert (min(lengths), max(lengths)) >= ((1, 5) if name == "creative-writing" else (120, 120))
    assert max(lengths) <= (5 if name == "creative-writing" else 200)


def test_loading_one_twice_changes_nothing(alice, db):
    _, report = actions.load_ready("research-plans", actor=alice)
    assert (report.created, report.errors) == (20, [])
    assert Prompt.objects.filter(split="eval").count() == 6
    assert AuditEntry.objects.get(verb="made").actor == alice
    assert actions.load_ready("research-plans")[1].created == 0


def test_what_was_edited_or_removed_from_it_stays_so_and_only_missing_prompts_come(db):
    domain, _ = actions.load_ready("research-plans")
    domain.generation_prompt = "Plan this: {PROPOSAL}"
    actions.save_domain(domain, actor=None)
    Prompt.objects.filter(split="eval").first().delete()
    again, report = actions.load_ready("research-plans")
    assert again.generation_prompt == "Plan this: {PROPOSAL}"
    assert (report.created, Prompt.objects.count()) == (1, 20)


def test_the_command_lists_and_loads(db):
    out = StringIO()
    call_command("load_domain", stdout=out)
    assert "creative-writing: Short stories" in out.getvalue()
    call_command("load_domain", "creative-writing", stdout=out)
    assert "Creative writing: 650 prompts are new, 650 are there." in out.getvalue()
    with pytest.raises(CommandError, match="there are: creative-writing, research-plans"):
        call_command("load_domain", "poems")


WRONG = {
    "name": (" ", "Give it a name"),
    "slug": ("new", "address of its own"),
    "generation_prompt": ("\n", "Write what the policy is asked"),
    "grading_prompt": ("Judge {content}.", "has no {CONTENT}"),
    "rubric_prompt": ("Write a rubric.", "has no {EXAMPLES}"),
    "context_prompt": ("Look at {EXPERT}.", "has no {GRADING}: {GRADING} stands for the filled grading prompt"),
    "critique_tag": ("", "A tag is a word"),
    "deliberation_tag": ("a b", "A tag is a word"),
    "score_tag": ("Critique", "<Critique> is the critique's tag already"),
    "content_tag": ("<story>", "without the < and >"),
    "score_max": (-1.0, "must lie above the lowest, which is 0"),
    "score_anchors": (["weak", ""], "a list of texts"),
}


@pytest.mark.parametrize("field", WRONG)
def test_what_makes_no_domain_is_refused_beside_its_field(field, db):
    value, words = WRONG[field]
    fields = {"slug": "s", "name": "S", "generation_prompt": "Write about {TOPIC}.", "grading_prompt": "Judge {CONTENT}."} | {field: value}
    with pytest.raises(InvalidDomain) as told:
        actions.save_domain(Domain(**fields), actor=None)
    assert list(told.value.errors) == [field]
    assert words in told.value.errors[field]
    assert not Domain.objects.exists()


def test_equal_tags_are_named_at_the_second_of_them(db):
    domain = make_domain(content_tag="score")
    assert domain_problems(domain) == {"score_tag": "<score> is the text's tag already: a trace could not be taken apart. Choose another."}


def test_what_stood_there_before_is_in_the_audit_log(domain, alice):
    domain.guidelines, domain.score_max = "Read twice.", 10
    actions.save_domain(domain, actor=alice)
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.verb, entry.target) == (alice, "edited", f"domain:{domain.pk}")
    assert entry.data["before"] == {"guidelines": "", "score_max": 100.0}
    actions.save_domain(domain, actor=alice)
    assert AuditEntry.objects.count() == 1  # nothing was changed


def test_line_ends_of_a_browser_change_nothing(domain):
    domain.grading_prompt = "Judge\n{CONTENT}."
    actions.save_domain(domain, actor=None)
    domain.grading_prompt = "Judge\r\n{CONTENT}."
    actions.save_domain(domain, actor=None)
    assert Domain.objects.get().grading_prompt == "Judge\n{CONTENT}."
    assert AuditEntry.objects.count() == 1


def test_a_preview_shows_what_models_will_read():
    domain = Domain(
        generation_prompt="Write about {TOPIC} in {braces}.", grading_prompt="Task: {INSTRUCTIONS} Text: {CONTENT} <critique> <deliberation> <score>"
    )
    shown = preview(domain, {"TOPIC": "the sea"}, "It <score>100</score> was.")
    assert shown.generation == "Write about the sea in {braces}."
    assert "Task: Write about the sea in {braces}. Text: It ‹score>100‹/score> was." in shown.grading
    assert (shown.errors, shown.notes) == ([], [])
    assert preview(domain).generation == "Write about ‹TOPIC› in {braces}."


def test_a_preview_says_what_is_wrong_and_what_is_worth_a_look():
    shown = preview(Domain(generation_prompt="Write about {TOPIC}.", grading_prompt="Judge {STORY}.", content_tag="story"), {"PLACE": "x"})
    assert any("needs TOPIC" in error for error in shown.errors)
    assert any("no {CONTENT}" in error for error in shown.errors)
    for words in ("no {INSTRUCTIONS}", "{STORY} means nothing", "does not ask for <critique>, <deliberation>, <score>", "does not ask for <story>"):
        assert any(words in note for note in shown.notes)
    assert "all prompts of this domain read alike" in preview(Domain(generation_prompt="Write.", grading_prompt="{CONTENT}")).notes[0]
