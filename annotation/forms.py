"""What reviewers and admins fill in. The words are kept as typed; whether they make a verdict is decided by `annotation.actions`."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.contrib.auth import get_user_model
from django.utils import timezone

from annotation.actions import Passage
from annotation.actions.prices import AMOUNTS
from annotation.models import Budget, Claim, Domain, Expert, Price

MOST_SPANS = 500


class VerdictForm(forms.Form):
    """A critique, how it becomes a score, the score, and passages of the text that it points at."""

    key = forms.CharField(max_length=80, widget=forms.HiddenInput, required=False)
    critique = forms.CharField(
        required=False, strip=False, widget=forms.Textarea(attrs={"rows": 6, "dir": "auto", "autocomplete": "off"}), help_text=" "
    )
    deliberation = forms.CharField(
        required=False, strip=False, widget=forms.Textarea(attrs={"rows": 2, "dir": "auto", "autocomplete": "off"}), help_text=" "
    )
    score = forms.CharField(required=False, max_length=20, widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}))

    spans = forms.CharField(widget=forms.HiddenInput, required=False)

    def __init__(self, *args: Any, domain: Domain, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.domain = domain
        self.label_suffix = ""
        if domain.score_anchors:
            self.fields["score"].help_text = " "

    def clean_key(self) -> str:
        return self.cleaned_data["key"] or str(uuid.uuid4())

    def clean_score(self) -> str:
        """As typed, with a decimal point where a comma was written."""
        return str(self.cleaned_data["score"]).strip().replace(",", ".")

    def clean_spans(self) -> list[Passage]:
        try:
            return [passage_of(row) for row in read_spans(self.cleaned_data["spans"])]
        except ValueError as exc:
            raise forms.ValidationError(str(exc)) from exc


class RevisionForm(VerdictForm):
    """A verdict that stands in the place of an earlier one, and why."""

    reason = forms.CharField(required=False, max_length=300, widget=forms.TextInput(attrs={"autocomplete": "off"}))


class DeclineForm(forms.Form):
    """Why an item is declined. Whether that is enough is decided by `annotation.actions.decline`."""

    reason = forms.ChoiceField(choices=Claim.Decline.choices, widget=forms.RadioSelect, required=False)
    words = forms.CharField(required=False, max_length=300, widget=forms.TextInput(attrs={"autocomplete": "off"}))


# Admins ------------------------------------------------------------------------------------------------------------------------


class Plain(forms.Form):
    """Without colons after labels, and with a way to put what an action found wrong beside its field."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""

    def take_errors(self, errors: Mapping[str, str]) -> None:
        for name, message in errors.items():
            self.add_error(name if name in self.fields else None, message)


class LimitForm(Plain):
    """How much, and what happens then. Whether that makes sense is decided by `annotation.actions.set_budget`."""

    limit = forms.CharField(max_length=20, label="Limit", widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}))
    hard = forms.ChoiceField(
        choices=[("yes", "Nobody is asked beyond it"), ("no", "It only warns")],
        initial="yes",
        label="When it is reached",
        error_messages={"required": "Choose what happens."},
    )

    def clean_limit(self) -> str:
        return str(self.cleaned_data["limit"]).strip().replace(",", ".").removeprefix("$")

    def clean_hard(self) -> bool:
        return bool(self.cleaned_data["hard"] == "yes")


class BudgetForm(LimitForm):
    """A new limit, and whose verdicts it limits. What is left open limits all of them together."""

    expert = forms.ModelChoiceField(
        Expert.objects.exclude(kind=Expert.Kind.MIXED),
        required=False,
        empty_label="all experts together",
        help_text="Where an expert stands for several, limit those.",
    )
    experiment = forms.ChoiceField(required=False, help_text="All of its rounds together.")
    user = forms.ModelChoiceField(
        get_user_model().objects.filter(is_active=True).order_by("username"), required=False, label="Person", empty_label="everybody together"
    )
    unit = forms.ChoiceField(choices=Budget.Unit.choices, label="Counted in")

    field_order = ["expert", "experiment", "user", "unit", "limit", "hard"]

    def __init__(self, *args: Any, experiments: Sequence[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["experiment"].choices = [("", "all experiments together"), *((name, name) for name in experiments)]  # type: ignore[attr-defined]


class PriceForm(Plain):
    """A price from a day on."""

    GROUPS = {
        "Tokens, in dollars per million": ("input", "output", "cache_read", "cache_write", "batch_discount"),
        "Verdicts and people, in dollars": ("per_verdict", "per_minute"),
    }
    LABELS = {
        "input": "Read",
        "output": "Written",
        "cache_read": "Read from a cache",
        "cache_write": "Put into a cache",
        "batch_discount": "Discount by batch",
        "per_verdict": "For a verdict",
        "per_minute": "For a minute",
    }
    name = forms.CharField(
        max_length=80, widget=forms.TextInput(attrs={"list": "price-names", "autocomplete": "off"}), help_text="As the experts name it."
    )
    since = forms.DateField(label="From this day on (UTC)", widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"))
    past = forms.BooleanField(
        required=False, label="A day that is over is meant", help_text="What was charged since then stays as it is: the price holds for new verdicts."
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["since"].initial = timezone.now().date
        for name, field in forms.fields_for_model(Price, AMOUNTS).items():
            self.fields[name] = field
            field.required, field.initial = False, None
            self.fields[name].label = self.LABELS[name]
            self.fields[name].widget = forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off", "placeholder": "0"})

    @property
    def amounts(self) -> dict[str, Any]:
        """What is left open is not named: it costs nothing."""
        return {name: self.cleaned_data[name] for name in AMOUNTS if self.cleaned_data.get(name) is not None}

    @property
    def groups(self) -> list[tuple[str, list[forms.BoundField]]]:
        return [(title, [self[name] for name in names]) for title, names in self.GROUPS.items()]


class PeriodForm(Plain):
    """Days from and to, both of them within."""

    since = forms.DateField(required=False, label="From", widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"))
    until = forms.DateField(required=False, label="To", widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"))


# ------------------------------------------------------------------------------------------------------------------------------


def read_spans(text: str) -> list[dict[str, Any]]:
    """Highlights as the page writes them: a JSON list of objects, [] for an empty text. Raises ValueError with words for people."""
    try:
        rows = json.loads(text) if text.strip() else []
    except ValueError:
        rows = None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("The highlights did not arrive in one piece. Reload the page; your words are kept.")
    if len(rows) > MOST_SPANS:
        raise ValueError(f"{len(rows)} highlights are more than the {MOST_SPANS} there can be on one text.")
    return rows


def passage_of(row: dict[str, Any]) -> Passage:
    """One highlight as it is submitted. Raises ValueError."""
    places = [place for place in (row.get("start"), row.get("end")) if isinstance(place, int) and not isinstance(place, bool) and place < 2**31]
    if len(places) < 2:
        raise ValueError("A highlight lacks its place in the text. Remove it and mark the passage again.")
    return Passage(places[0], places[1], str(row.get("quote", "")), str(row.get("sign", "")), str(row.get("comment") or ""))
