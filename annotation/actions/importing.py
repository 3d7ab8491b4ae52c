"""Prompts from a file into a domain."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from django.db import transaction
from django.utils import timezone

from annotation.actions import audit
from annotation.bulk import insert_new
from annotation.models import Domain, Prompt, digest_of
from annotation.text import storable
from grading.errors import ConfigurationError
from grading.prompts import fill

AT_ONCE = 1000
UNDECODED = re.compile("[\udc80-\udcff]")  # what reading with surrogateescape makes of bytes that are no UTF-8


@dataclass(slots=True)
class ImportReport:
    """What became of the rows: new prompts, those that were there already, and (line, what is wrong) for the broken ones."""

    created: int = 0
    existing: int = 0
    errors: list[tuple[int, str]] = field(default_factory=list)


class BrokenRow(ValueError):
    """A row that makes no prompt."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    line: int
    split: str
    variables: dict[str, Any]
    text: str
    digest: str


def import_prompts(
    domain: Domain, split: str | None, rows: Iterable[str | Mapping[str, Any]], *, actor: Any = None, dry_run: bool = False
) -> ImportReport:
    """Make a prompt of each row: `{"split": "train" | "eval", "variables": {...}}` as JSON text or as a dict; blank lines are passed over.

    A row without a split gets `split`. Broken rows are reported with their line (from 1), the others go in. A prompt that the domain has
    counts as existing; one that is in the other split already is an error, since a policy must not train on what it is measured with.
    With `dry_run` the report is the same and nothing is kept.
    """
    report = ImportReport()
    with transaction.atomic():
        wanted = _readable(domain, split, rows, report)
        while chunk := list(islice(wanted, AT_ONCE)):
            _insert(domain, chunk, report)
        report.errors.sort()
        audit.record(actor, "imported", domain, created=report.created, existing=report.existing, broken=len(report.errors))
        if dry_run:
            transaction.set_rollback(True)
    return report


def _readable(domain: Domain, split: str | None, rows: Iterable[str | Mapping[str, Any]], report: ImportReport) -> Iterator[_Wanted]:
    for line, row in enumerate(rows, start=1):
        if isinstance(row, str) and not row.strip():
            continue
        try:
            yield _read(domain, split, line, row)
        except (BrokenRow, ConfigurationError) as exc:
            report.errors.append((line, str(exc)))


def _read(domain: Domain, split: str | None, line: int, row: str | Mapping[str, Any]) -> _Wanted:
    if isinstance(row, str):
        if UNDECODED.search(row):
            raise BrokenRow("not UTF-8")
        try:
            row = json.loads(row)
        except ValueError as exc:
            raise BrokenRow(f"not valid JSON: {exc}") from exc
        except RecursionError as exc:
            raise BrokenRow("not valid JSON: nested too deeply") from exc
    if not isinstance(row, Mapping):
        raise BrokenRow('not an object such as {"split": "train", "variables": {...}}')
    if unknown := set(row) - {"split", "variables"}:
        raise BrokenRow(f"unknown key {', '.join(sorted(unknown))}; a row has split and variables")
    where = row.get("split", split)
    if where not in Prompt.Split.values:
        raise BrokenRow(f"split must be train or eval, not {where!r}")
    variables = row.get("variables", {})
    if not isinstance(variables, Mapping) or not all(isinstance(value, str | int | float) for value in variables.values()):
        raise BrokenRow("variables must be an object of texts and numbers")
    variables = storable(dict(variables))
    text = fill(storable(domain.generation_prompt), variables)
    return _Wanted(line, where, variables, text, digest_of(text))


def _insert(domain: Domain, chunk: list[_Wanted], report: ImportReport) -> None:
    shared = {"domain": domain.pk, "created": timezone.now()}
    own = [{"split": row.split, "variables": row.variables, "text": row.text, "digest": row.digest} for row in chunk]
    created = insert_new(Prompt, [{**shared, **values} for values in own])
    report.created += created
    there = dict(Prompt.objects.filter(domain=domain, digest__in=[row.digest for row in chunk]).values_list("digest", "split"))
    clashes = [(row.line, f"this prompt is in the {there[row.digest]} split already") for row in chunk if there[row.digest] != row.split]
    report.existing += len(chunk) - created - len(clashes)
    report.errors += clashes
