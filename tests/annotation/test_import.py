"""Prompts from a file: the good rows go in, the broken ones are named."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from annotation import actions
from annotation.models import AuditEntry, Prompt
from tests.annotation.makers import make_domain


def row(topic, split="train"):
    return json.dumps({"split": split, "variables": {"TOPIC": topic}})


def run(file, *options):
    out, err = StringIO(), StringIO()
    try:
        call_command("import_prompts", str(file), "--domain=stories", *options, stdout=out, stderr=err)
    except CommandError as exc:
        return out.getvalue() + err.getvalue() + f"ERROR {exc}"
    return out.getvalue() + err.getvalue()


def test_prompts_come_in_with_their_placeholders_filled(domain, alice):
    report = actions.import_prompts(domain, None, [row("the sea"), row("a key", "eval")], actor=alice)
    assert (report.created, report.existing, report.errors) == (2, 0, [])
    prompt = Prompt.objects.get(split="eval")
    assert (prompt.text, prompt.variables) == ("Write about a key.", {"TOPIC": "a key"})
    entry = AuditEntry.objects.get(verb="imported")
    assert (entry.actor, entry.data["created"]) == (alice, 2)


def test_what_is_there_already_counts_as_existing_within_a_file_too(domain):
    assert actions.import_prompts(domain, None, [row("a"), row("a")]).created == 1
    report = actions.import_prompts(domain, None, [row("a"), row("b"), row("b")])
    assert (report.created, report.existing) == (1, 2)


def test_flat_rows_are_variables_but_for_the_split(domain):
    actions.import_prompts(domain, None, [{"split": "eval", "TOPIC": "a key", "source": 7}])
    prompt = Prompt.objects.get()
    assert (prompt.text, prompt.split, prompt.variables) == ("Write about a key.", "eval", {"TOPIC": "a key", "source": 7})


BROKEN = {
    "{nonsense": "not valid JSON",
    "[1]": "not an object",
    '"text"': "not an object",
    '{"split": "test", "variables": {"TOPIC": "x"}}': "train or eval",
    '{"variables": {"TOPIC": "x"}}': "train or eval",
    '{"split": "train", "variables": {}}': "TOPIC",
    '{"split": "train", "variables": "x"}': "object of texts",
    '{"split": "train", "variables": {"TOPIC": ["x"]}}': "object of texts",
    '{"split": "train", "variables": {"TOPIC": "x"}, "extra": 1}': "unknown key extra",
    "[" * 100_000: "nested too deeply",
    '{"split": "train", "variables": {"TOPIC": NaN}}': "NaN is no number",
    '{"split": "train", "variables": {"TOPIC": 1e999}}': "TOPIC is not a finite number",
    '{"split": "train", "split": "eval", "variables": {"TOPIC": "x"}}': "the key split is there twice",
    '{"split": "train", "TOPIC": "x", "meta": {"a": 1}}': "meta holds an object",
    '{"split": ["train"], "TOPIC": "x"}': "train or eval",
}


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_a_broken_row_is_named_with_its_line_and_the_rest_goes_in(text, domain):
    report = actions.import_prompts(domain, None, [row("a"), "", text, row("b")])
    assert report.created == 2
    ((line, message),) = report.errors
    assert line == 3
    assert BROKEN[text] in message or "not valid JSON" in message


def test_a_prompt_cannot_be_in_both_splits(domain):
    actions.import_prompts(domain, None, [row("a", "train")])
    report = actions.import_prompts(domain, None, [row("a", "eval"), row("b", "eval")])
    assert (report.created, report.existing) == (1, 0)
    assert report.errors == [(1, "this prompt is in the train split already")]


def test_two_domains_may_have_the_same_prompt(domain):
    for each in (domain, make_domain("others")):
        assert actions.import_prompts(each, "train", [{"variables": {"TOPIC": "a"}}]).created == 1


def test_many_rows_come_in(domain):
    report = actions.import_prompts(domain, None, (row(f"topic {i}") for i in range(2500)))
    assert (report.created, Prompt.objects.count()) == (2500, 2500)


def test_very_many_broken_rows_are_counted_and_the_first_thousand_named(domain):
    report = actions.import_prompts(domain, None, ("{" for _ in range(3000)))
    assert (report.broken, len(report.errors), report.errors[0][0], report.errors[-1][0]) == (3000, 1000, 1, 1000)


def test_the_command_says_what_it_did_and_ends_with_an_error_where_rows_were_broken(domain, tmp_path):
    file = tmp_path / "prompts.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + row("caf\u00e9").encode() + b'\n{"split": "train", "variables": {"TOPIC": "\xff"}}\n' + row("b").encode())
    said = run(file)
    assert "line 2: not UTF-8" in said
    assert "stories: 2 new, 0 there already, 1 broken" in said
    assert "ERROR 1 of" in said


def test_a_dry_run_says_the_same_and_keeps_nothing(domain, tmp_path):
    file = tmp_path / "prompts.jsonl"
    file.write_text(row("a") + "\n" + row("b"))
    assert "2 would be new" in run(file, "--dry-run")
    assert not Prompt.objects.exists()
    assert not AuditEntry.objects.exists()


def test_a_missing_file_or_domain_is_a_plain_error(domain, tmp_path):
    assert "ERROR Cannot read" in run(tmp_path / "none.jsonl")
    assert "is not a folder that datasets saved" in run(tmp_path)
    with pytest.raises(CommandError, match="no domain others; there are: stories"):
        call_command("import_prompts", str(tmp_path / "x"), "--domain=others")
