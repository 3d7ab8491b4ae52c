"""What reviewers fill in. The words are kept as typed; whether they make a verdict is decided by `annotation.actions`."""

from __future__ import annotations

import json
import uuid
from typing import Any

from django import forms

from annotation.actions import Passage
from annotation.models import Claim, Domain

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
