"""Prompts and rollouts from files into a domain."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import md5
from itertools import islice
from math import isfinite
from typing import Any, TypeVar

from django.db import connection, transaction
from django.db.models import Max
from django.db.models.functions import MD5
from django.utils import timezone

from annotation.actions import audit
from annotation.bulk import insert_new
from annotation.errors import InvalidSelection
from annotation.models import Domain, Prompt, Rollout, digest_of
from annotation.readers import Row, read_json
from annotation.text import storable
from grading.errors import ConfigurationError
from grading.prompts import extract, fill

T = TypeVar("T")
AT_ONCE = 1000
MOST_ERRORS = 1000  # broken rows that are kept word by word; the others are counted
IMPORTED = "imported rollouts"  # the verb in the log
RUN = "import:"  # how runs of imported rollouts begin: no experiment's run has a colon
NAME_LENGTH = 100
LARGEST = 2**31 - 1
CHECKPOINT_LENGTH = 64


@dataclass(slots=True)
class ImportReport:
    """What became of the rows: new ones, those that were there already, and the number of broken ones.

    `errors` are (line or row, what is wrong) for the first `MOST_ERRORS` broken ones. `prompts` counts the prompts that rollouts brought along.
    """

    created: int = 0
    existing: int = 0
    broken: int = 0
    prompts: int = 0
    errors: list[tuple[int, str]] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return self.created + self.existing + self.broken

    def note(self, number: int, message: str) -> None:
        self.broken += 1
        if len(self.errors) < MOST_ERRORS:
            self.errors.append((number, message))


class BrokenRow(ValueError):
    """A row that makes no prompt or rollout."""


@dataclass(frozen=True, slots=True)
class _Prompt:
    line: int
    split: str | None
    variables: dict[str, Any]
    text: str
    digest: str


@dataclass(frozen=True, slots=True)
class _Rollout:
    line: int
    prompt: _Prompt
    completion: str
    content: str
    step: int
    index: int | None
    more: dict[str, Any]  # checkpoint, finished, tokens, sampling

    @property
    def mark(self) -> str:
        return md5(self.completion.encode(), usedforsecurity=False).hexdigest()


def import_prompts(
    domain: Domain, split: str | None, rows: Iterable[str | Mapping[str, Any] | Row], *, actor: Any = None, dry_run: bool = False
) -> ImportReport:
    """Make a prompt of each row: `{"split": "train" | "eval", "variables": {...}}`, or flat, `{"split": ..., "TOPIC": ...}`.

    Rows are what `annotation.readers.rows` gives, JSON text, or dicts. A row without a split gets `split`. Broken rows are reported with their
    line (from 1), the others go in. A prompt that the domain has counts as existing; one that is in the other split already is an error, since
    a policy must not train on what it is measured with. With `dry_run` the report is the same and nothing is kept.
    """
    report = ImportReport()
    with transaction.atomic():
        _import(rows, partial(_read_prompt, domain, split), partial(_insert_prompts, domain, report), report)
        audit.record(actor, "imported", domain, created=report.created, existing=report.existing, broken=report.broken)
        if dry_run:
            transaction.set_rollback(True)
    return report


def import_rollouts(
    domain: Domain,
    rows: Iterable[str | Mapping[str, Any] | Row],
    *,
    name: str,
    split: str | None = None,
    actor: Any = None,
    dry_run: bool = False,
) -> ImportReport:
    """Make a rollout of each row, in the run "import:`name`": texts that any model or person has written, to be reviewed and graded.

    A row names its prompt by `prompt` (the text that the writer read) or by its variables (under `variables`, or flat), and has `completion` (all
    that was written) or `content` (the text to judge) or both. It may have split, step, index, checkpoint, finished, tokens, sampling. A prompt
    that the domain lacks is made, in the row's split or else in `split`. A row without an index goes to the end of its group, unless the group
    has the same text already. Errors, `dry_run` and rows are as in `import_prompts`. Raises `InvalidSelection` for a name that will not do.
    """
    name = storable(name).strip()
    if not 0 < len(name) <= NAME_LENGTH:
        raise InvalidSelection(f"Give the import a name of 1 to {NAME_LENGTH} characters: it says later where these texts came from.")
    report = ImportReport()
    run = f"{RUN}{name}"
    with transaction.atomic():
        with connection.cursor() as cursor:  # a second import under this name waits: indexes are given by what is there
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [run])
        _import(rows, partial(_read_rollout, domain), partial(_insert_rollouts, domain, run, split, report), report)
        counts = {"created": report.created, "prompts": report.prompts, "existing": report.existing, "broken": report.broken}
        audit.record(actor, IMPORTED, domain, run=run, **counts)
        if dry_run:
            transaction.set_rollback(True)
    return report


def _import(rows: Iterable[str | Mapping[str, Any] | Row], read: Callable[[Row], T], insert: Callable[[list[T]], None], report: ImportReport) -> None:
    numbered = _numbered(rows)
    while chunk := list(islice(numbered, AT_ONCE)):
        good = []
        for row in chunk:
            try:
                if row.values is None:
                    raise BrokenRow(row.problem)
                good.append(read(row))
            except (BrokenRow, ConfigurationError) as exc:
                report.note(row.number, str(exc))
        insert(good)
    report.errors.sort()


def _numbered(rows: Iterable[str | Mapping[str, Any] | Row]) -> Iterator[Row]:
    for line, row in enumerate(rows, start=1):
        if isinstance(row, Row):
            yield row
        elif not isinstance(row, str):
            yield Row(line, row)
        elif row.strip():
            yield read_json(line, row)


# Prompts ---------------------------------------------------------------------------------------------------------------------


def _read_prompt(domain: Domain, split: str | None, row: Row) -> _Prompt:
    values = dict(row.values or {})
    where = _split(values.pop("split", None) or split)
    if where is None:
        raise BrokenRow("says no split: it must be train or eval")
    variables = _variables(values, "split and variables")
    return _filled(domain, row.number, where, variables)


def _filled(domain: Domain, line: int, split: str | None, variables: dict[str, Any]) -> _Prompt:
    text = fill(storable(domain.generation_prompt), variables)
    return _Prompt(line, split, variables, text, digest_of(text))


def _split(value: Any) -> str | None:
    if value is None or value in Prompt.Split.values:
        return value
    raise BrokenRow(f"split must be train or eval, not {value!r}")


def _variables(values: dict[str, Any], known: str) -> dict[str, Any]:
    """The variables of a row: what stands under "variables", or else all that is left in it."""
    if "variables" not in values:
        return _scalars(values, "a column that is a variable must hold texts or numbers")
    given = values.pop("variables")
    if values:
        raise BrokenRow(f"unknown key {', '.join(sorted(map(str, values)))}; a row has {known}")
    given = _object(given)
    if given is None:
        raise BrokenRow("variables must be an object of texts and numbers")
    return _scalars(given, "variables must be an object of texts and numbers")


def _object(value: Any) -> dict[str, Any] | None:
    """An object, or JSON text of one, as a cell of a table holds it; None for anything else."""
    if isinstance(value, str):
        value = read_json(0, value).values
    return dict(value) if isinstance(value, Mapping) else None


def _scalars(values: Mapping[str, Any], demand: str) -> dict[str, Any]:
    for name, value in values.items():
        if not isinstance(value, str | int | float) or (isinstance(value, float) and not isfinite(value)):
            what = "is not a finite number" if isinstance(value, float) else f"holds {_kind(value)}"
            raise BrokenRow(f"{demand}: {name} {what}")
    return dict(storable(dict(values)))


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", type(None): "null"}
    return kinds.get(type(value), f"a {type(value).__name__}")


def _insert_prompts(domain: Domain, report: ImportReport, chunk: list[_Prompt]) -> None:
    created = _make_prompts(domain, chunk)
    report.created += created
    there = _there(domain, chunk)
    clashes = [(row.line, f"this prompt is in the {there[row.digest][1]} split already") for row in chunk if there[row.digest][1] != row.split]
    report.existing += len(chunk) - created - len(clashes)
    for clash in clashes:
        report.note(*clash)


def _make_prompts(domain: Domain, chunk: list[_Prompt]) -> int:
    shared = {"domain": domain.pk, "created": timezone.now()}
    own = [{"split": row.split, "variables": row.variables, "text": row.text, "digest": row.digest} for row in chunk]
    return insert_new(Prompt, [{**shared, **values} for values in own])


# One look into the index for each digest: in a table that has just grown the planner would rather read all prompts of the domain.
THERE = """
    SELECT found.digest, found.id, found.split FROM unnest(%s::varchar[]) AS wanted (digest)
    CROSS JOIN LATERAL (SELECT * FROM annotation_prompt WHERE domain_id = %s AND digest = wanted.digest LIMIT 1) AS found
"""


def _there(domain: Domain, chunk: Iterable[_Prompt]) -> dict[str, tuple[int, str]]:
    """(id, split) of the prompts that the domain has, by digest."""
    with connection.cursor() as cursor:
        cursor.execute(THERE, [list({row.digest for row in chunk}), domain.pk])
        return {digest: (pk, split) for digest, pk, split in cursor.fetchall()}


# Rollouts --------------------------------------------------------------------------------------------------------------------

KNOWN = "prompt or variables, completion or content, split, step, index, checkpoint, finished, tokens, sampling"


def _read_rollout(domain: Domain, row: Row) -> _Rollout:
    values = {name: value for name, value in (row.values or {}).items() if value is not None}
    split = _split(values.pop("split", None))
    completion, content = _texts(domain, values.pop("completion", None), values.pop("content", None))
    step = _whole("step", values.pop("step", 0))
    index = _whole("index", values.pop("index")) if "index" in values else None
    more = {
        "checkpoint": _checkpoint(values.pop("checkpoint", "")),
        "finished": _yes_or_no("finished", values.pop("finished", True)),
        "tokens": _whole("tokens", values.pop("tokens", 0)),
        "sampling": _sampling(values.pop("sampling", {})),
    }
    return _Rollout(row.number, _prompt_of(domain, row.number, split, values), completion, content, step, index, more)


def _prompt_of(domain: Domain, line: int, split: str | None, values: dict[str, Any]) -> _Prompt:
    if "prompt" not in values:
        if not values:
            raise BrokenRow("names no prompt: give its text as prompt, or its variables")
        return _filled(domain, line, split, _variables(values, KNOWN))
    text = values.pop("prompt")
    if not isinstance(text, str) or not text.strip():
        raise BrokenRow("prompt must be the text that the writer read")
    variables = _variables(values, KNOWN) if "variables" in values else {}
    if values and not variables:
        raise BrokenRow(f"unknown key {', '.join(sorted(map(str, values)))}; a row has {KNOWN}")
    text = storable(text)
    return _Prompt(line, split, variables, text, digest_of(text))


def _texts(domain: Domain, completion: Any, content: Any) -> tuple[str, str]:
    for name, value in (("completion", completion), ("content", content)):
        if value is not None and not isinstance(value, str):
            raise BrokenRow(f"{name} must be a text, not {_kind(value)}")
    if completion is None and content is None:
        raise BrokenRow("has neither completion nor content: the text that was written is missing")
    if content is None:
        content = extract(completion, domain.content_tag)
        if not content and completion.strip():
            tag = domain.content_tag
            raise BrokenRow(f"the completion has no text in <{tag}> and </{tag}>: if all of it is to be judged, call the column content")
    if not content.strip():
        raise BrokenRow("the text is empty")
    return storable(content if completion is None else completion), storable(content)


def _whole(name: str, value: Any) -> int:
    try:
        number = int(value)
        exact = float(value) == number and not isinstance(value, bool)
    except (TypeError, ValueError, OverflowError):
        exact = False
    if not exact or not 0 <= number <= LARGEST:
        raise BrokenRow(f"{name} must be a whole number from 0 on, not {str(value)[:40]!r}")
    return number


def _yes_or_no(name: str, value: Any) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    found = words.get(str(value).strip().lower())
    if found is None:
        raise BrokenRow(f"{name} must be true or false, not {str(value)[:40]!r}")
    return found


def _checkpoint(value: Any) -> str:
    text = str(storable(value)) if isinstance(value, str) else ""
    if not isinstance(value, str) or len(text) > CHECKPOINT_LENGTH:
        raise BrokenRow(f"checkpoint must be a text of at most {CHECKPOINT_LENGTH} characters, such as the SHA-256 of the weights")
    return text


def _sampling(value: Any) -> dict[str, Any]:
    given = _object(value)
    try:
        json.dumps(given, allow_nan=False)
    except (TypeError, ValueError):
        given = None
    if given is None:
        raise BrokenRow('sampling must be an object such as {"temperature": 1.0}')
    return dict(storable(given))


def _insert_rollouts(domain: Domain, run: str, split: str | None, report: ImportReport, chunk: list[_Rollout]) -> None:
    chunk = _with_prompts(domain, split, report, chunk)
    there = _there(domain, (row.prompt for row in chunk))
    places = {row.line: (there[row.prompt.digest][0], row.step) for row in chunk}
    same, taken, following = _in_the_run(run, chunk, places)
    fresh = []
    for row in chunk:
        place = places[row.line]
        index = following.get(place, 0) if row.index is None else row.index
        if row.index is None and (*place, row.mark) in same:
            report.existing += 1
        elif (*place, index) not in taken:
            fresh.append((row, place, index))
            taken[(*place, index)] = row.mark
            same.add((*place, row.mark))
            following[place] = max(following.get(place, 0), index + 1)
        elif taken[(*place, index)] == row.mark:
            report.existing += 1
        else:
            where = f"step {row.step}, index {index}"
            report.note(row.line, f"{where} of this prompt is another text already: leave the index out, or import under another name")
    now = timezone.now()
    report.created += insert_new(
        Rollout,
        [
            {"run": run, "prompt": prompt, "step": step, "index": index, "completion": row.completion, "content": row.content, "created": now}
            | row.more
            for row, (prompt, step), index in fresh
        ],
    )


def _with_prompts(domain: Domain, split: str | None, report: ImportReport, chunk: list[_Rollout]) -> list[_Rollout]:
    """Those rows of `chunk` whose prompts the domain has, in the split that the row says; prompts that it lacks are made."""
    there = _there(domain, (row.prompt for row in chunk))
    made: dict[str, _Prompt] = {}
    good = []
    for row in chunk:
        prompt = row.prompt
        known = there[prompt.digest][1] if prompt.digest in there else made[prompt.digest].split if prompt.digest in made else None
        if known is None and not (prompt.split or split):
            report.note(row.line, "this prompt is new to the domain: say whether it goes to the train or the eval split")
            continue
        if known is None:
            made[prompt.digest] = _Prompt(prompt.line, prompt.split or split, prompt.variables, prompt.text, prompt.digest)
        elif prompt.split not in (None, known):
            report.note(row.line, f"this prompt is in the {known} split already")
            continue
        good.append(row)
    report.prompts += _make_prompts(domain, list(made.values()))
    return good


Place = tuple[int, int]  # a prompt's id, and a step


def _in_the_run(
    run: str, chunk: list[_Rollout], places: Mapping[int, Place]
) -> tuple[set[tuple[int, int, str]], dict[tuple[int, int, int], str], dict[Place, int]]:
    """What the run has in the groups of `chunk`: texts (as digests) that rows without an index bring again, texts by index, and the next index.

    Only what these rows ask for is fetched: a group can be larger than memory.
    """
    prompts, steps = {place[0] for place in places.values()}, {place[1] for place in places.values()}
    rows = Rollout.objects.filter(run=run, prompt__in=prompts, step__in=steps).order_by()
    marked = rows.annotate(mark=MD5("completion"))
    loose = {row.mark for row in chunk if row.index is None}
    fixed = {row.index for row in chunk if row.index is not None}
    same = set(marked.filter(mark__in=loose).values_list("prompt_id", "step", "mark")) if loose else set()
    taken = {
        (prompt, step, index): mark for prompt, step, index, mark in marked.filter(index__in=fixed).values_list("prompt_id", "step", "index", "mark")
    }
    last = rows.values_list("prompt_id", "step").annotate(last=Max("index"))
    return same, taken, {(prompt, step): index + 1 for prompt, step, index in last}
