"""What reviewers fill in. The words are kept as typed; whether they make a verdict is decided by `annotation.actions`."""

from __future__ import annotations

import uuid
from typing import Any

from django import forms

from annotation.models import Domain

REASONS = [
    ("conflict", "I have a conflict of interest"),
    ("expertise", "It is outside my expertise"),
    ("unreadable", "It cannot be read"),
    ("other", "Something else"),
]


class VerdictForm(forms.Form):
    """A critique, how it becomes a score, and the score."""

    key = forms.CharField(max_length=80, widget=forms.HiddenInput, required=False)
    critique = forms.CharField(
        required=False, strip=False, widget=forms.Textarea(attrs={"rows": 6, "dir": "auto", "autocomplete": "off"}), help_text=" "
    )
    deliberation = forms.CharField(
        required=False, strip=False, widget=forms.Textarea(attrs={"rows": 2, "dir": "auto", "autocomplete": "off"}), help_text=" "
    )
    score = forms.CharField(required=False, max_length=20, widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}))

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


class SkipForm(forms.Form):
    """Why an item is declined."""

    reason = forms.ChoiceField(choices=REASONS, widget=forms.RadioSelect, error_messages={"required": "Choose a reason; it helps to route the text."})
    words = forms.CharField(required=False, max_length=200, widget=forms.TextInput(attrs={"autocomplete": "off"}))

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("reason") == "other" and not (data.get("words") or "").strip():
            self.add_error("words", "Say in a few words what it is.")
        return data

    @property
    def said(self) -> str:
        """The reason in words, as it is recorded."""
        label = dict(REASONS)[self.cleaned_data["reason"]]
        words = self.cleaned_data["words"].strip()
        return f"{label}: {words}" if words else label
