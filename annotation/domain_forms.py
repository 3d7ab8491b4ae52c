"""What researchers fill in about a domain. Whether it makes one is decided by `annotation.validation`, and kept by `annotation.actions`."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import Count
from django.utils.text import slugify

from annotation import querysets
from annotation.actions.importing import NAME_LENGTH, RUN
from annotation.asking import MOST_TIMES, Wanted, imported_rollouts
from annotation.forms import Plain
from annotation.models import Domain, Expert, Prompt, Rollout
from annotation.readers import FORMATS, SUFFIXES
from annotation.validation import domain_problems

SAMPLES = 25  # prompts and rollouts that are offered to look at
MOST_BYTES = 20 * 2**20  # of an uploaded file
MOST_ROWS = 100_000  # of an uploaded file: some ten seconds; the command line has no such limit
LONGEST_TEXT = 200_000  # characters of a text that is typed in for a trial
GRADING_START = """\
Judge the text below.

What the writer was asked:
{INSTRUCTIONS}

The text:
{CONTENT}

Write a critique between <critique> and </critique>: what works, what does not, and why. Weigh it between <deliberation> and </deliberation>. \
Then give a score from 0 to 100, and nothing else, between <score> and </score>.
"""


class DomainProblems(forms.ModelForm):
    """Puts what keeps the instance from being a domain beside the fields; those that say something already are left alone."""

    def _get_validation_exclusions(self) -> set[str]:
        # Then the constraint on the range is not looked at: `domain_problems` says the same in words, beside the field.
        return {*super()._get_validation_exclusions(), "score_max"}  # type: ignore[misc]

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        for name, message in domain_problems(self.instance).items():
            if name in self.fields and name not in self.errors:
                self.add_error(name, message)


class DomainForm(DomainProblems):
    """A domain's words and format."""

    score_anchors = forms.CharField(
        required=False, label="Words along the scale", help_text="From low to high, separated by commas: weak, fair, good. May be empty."
    )

    class Meta:
        model = Domain
        fields = [
            "name",
            "slug",
            "description",
            "generation_prompt",
            "content_tag",
            "grading_prompt",
            "critique_tag",
            "deliberation_tag",
            "score_tag",
            "score_min",
            "score_max",
            "score_required",
            "score_anchors",
            "rubric_prompt",
            "context_prompt",
            "guidelines",
        ]
        labels = {
            "slug": "Name in addresses",
            "content_tag": "Tag around the text",
            "critique_tag": "Critique's tag",
            "deliberation_tag": "Deliberation's tag",
            "score_tag": "Score's tag",
            "score_min": "Lowest score",
            "score_max": "Highest score",
            "score_required": "Reviewers must give a score",
            "rubric_prompt": "Rubric-writing prompt",
            "context_prompt": "Prompt with the expert's words",
        }
        help_texts = {
            "slug": "Letters, digits and hyphens. Empty: made from the name. It cannot be changed later.",
            "description": "One or two sentences for whoever chooses a domain.",
            "generation_prompt": "What the policy is asked. {TOPIC} stands for a prompt's variable TOPIC; call yours as you like, in capitals.",
            "content_tag": "As in <story>; empty where all of an answer is to be judged.",
            "grading_prompt": "What a grader is asked at first. {INSTRUCTIONS} stands for what the writer was asked, {CONTENT} for the text.",
            "rubric_prompt": "What a strong model is asked that writes a new grading prompt. {EXAMPLES} stands for texts with the traces of the "
            "expert and the proxy. May be empty.",
            "context_prompt": "What a proxy is asked that writes a trace of its own while it sees what the expert wrote (context distillation). "
            "{GRADING} stands for the filled grading prompt, {EXPERT} for the expert's words. Empty: in general words.",
            "guidelines": "What human reviewers are told. Markdown.",
        }
        widgets = {
            "description": forms.Textarea(attrs={"rows": 2}),
            "generation_prompt": forms.Textarea(attrs={"rows": 8, "class": "mono", "spellcheck": "false"}),
            "grading_prompt": forms.Textarea(attrs={"rows": 14, "class": "mono", "spellcheck": "false"}),
            "rubric_prompt": forms.Textarea(attrs={"rows": 6, "class": "mono", "spellcheck": "false"}),
            "context_prompt": forms.Textarea(attrs={"rows": 6, "class": "mono", "spellcheck": "false"}),
            "guidelines": forms.Textarea(attrs={"rows": 10}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
        for name in ("generation_prompt", "grading_prompt", "rubric_prompt", "context_prompt", "guidelines"):
            self.fields[name].strip = False  # type: ignore[attr-defined]
        if self.instance.pk:
            del self.fields["slug"]
        else:
            self.fields["slug"].required = False
            self.initial["grading_prompt"] = GRADING_START
        for name in ("score_min", "score_max"):
            self.initial[name] = f"{getattr(self.instance, name):g}"
        anchors = self.instance.score_anchors
        self.initial["score_anchors"] = ", ".join(map(str, anchors)) if isinstance(anchors, list) else ""

    def clean_score_anchors(self) -> list[str]:
        return [word.strip() for word in self.cleaned_data["score_anchors"].split(",") if word.strip()]

    def clean_slug(self) -> str:
        slug = self.cleaned_data["slug"] or slugify(self.cleaned_data.get("name", ""))[:50]
        if not slug and self.cleaned_data.get("name"):
            raise forms.ValidationError("No address can be made from that name. Write one here.")
        return slug

    def tag_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in ("critique_tag", "deliberation_tag", "score_tag")]

    def unchecked(self) -> Domain:
        """The domain as typed so far, not saved and perhaps not right: for the preview."""
        self.is_valid()
        domain = Domain()
        for name in self.fields:
            value = self.cleaned_data.get(name, self.data.get(name, ""))
            if name not in ("score_min", "score_max", "score_required", "score_anchors"):
                setattr(domain, name, str(value).replace("\r\n", "\n"))
        for name in ("score_min", "score_max"):
            if name in self.cleaned_data:
                setattr(domain, name, self.cleaned_data[name])
        return domain


class SampleForm(forms.Form):
    """A prompt and a text to look at a domain's words with."""

    sample_prompt = forms.ModelChoiceField(Prompt.objects.none(), required=False, label="Sample prompt", empty_label="None: placeholders stay marked")
    sample_rollout = forms.ModelChoiceField(Rollout.objects.none(), required=False, label="Sample text", empty_label="The one typed below")
    sample_text = forms.CharField(
        required=False,
        max_length=LONGEST_TEXT,
        label="A text to judge",
        widget=forms.Textarea(attrs={"rows": 4, "dir": "auto"}),
    )

    def __init__(self, *args: Any, domain: Domain | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
        prompts, rollouts = self.fields["sample_prompt"], self.fields["sample_rollout"]
        if domain is not None and domain.pk:
            _offer(prompts, domain.prompts.order_by("pk"))
            # Only what was imported: the rollouts of an experiment are for those who see the experiment.
            _offer(rollouts, imported_rollouts(domain).select_related("prompt").order_by("-pk"))
        prompts.label_from_instance = lambda prompt: _short(" ".join(map(str, prompt.variables.values())) or prompt.text)  # type: ignore[attr-defined]
        rollouts.label_from_instance = lambda rollout: _short(rollout.content)  # type: ignore[attr-defined]
        for name in ("sample_prompt", "sample_rollout"):
            if not self.fields[name].queryset.exists():  # type: ignore[attr-defined]
                del self.fields[name]

    @property
    def prompt(self) -> Prompt | None:
        """Whose task is shown: that of the chosen rollout, or else the chosen one."""
        rollout = self.rollout
        return rollout.prompt if rollout else self._chosen("sample_prompt")

    @property
    def rollout(self) -> Rollout | None:
        return self._chosen("sample_rollout")

    @property
    def text(self) -> str:
        """The text to judge, "" where there is none."""
        rollout = self.rollout
        return rollout.content if rollout else str(self.cleaned_data.get("sample_text") or "").replace("\r\n", "\n").strip()

    def _chosen(self, name: str) -> Any:
        return self.cleaned_data.get(name)


class TrialForm(SampleForm):
    """Who is to judge, and what."""

    expert = forms.ModelChoiceField(
        Expert.objects.none(),
        empty_label=None,
        label="Who judges",
        error_messages={"required": "Choose who judges.", "invalid_choice": "Choose again."},
    )

    field_order = ["expert", "sample_prompt", "sample_rollout", "sample_text"]

    def __init__(self, *args: Any, user: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["expert"].queryset = querysets.usable_by(user).filter(kind__in=Expert.ALONE)  # type: ignore[attr-defined]
        if "sample_prompt" in self.fields:
            self.fields["sample_prompt"].empty_label = "None: the text is judged without a task"  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        if not self.errors and not self.text:
            self.add_error("sample_text", "Type a text to judge, or choose one.")
        return self.cleaned_data


class AskForm(Plain):
    """Which imported texts an expert is to judge."""

    run = forms.ChoiceField(label="Texts from", error_messages={"required": "Choose which texts."})
    expert = forms.ModelChoiceField(Expert.objects.none(), empty_label=None, label="Who judges", error_messages={"required": "Choose who judges."})
    texts = forms.IntegerField(min_value=1, required=False, label="How many", help_text="At random. Empty: all of them.")
    times = forms.IntegerField(
        min_value=1, max_value=MOST_TIMES, initial=1, label="Verdicts on each", help_text="Of a panel, each from somebody else."
    )
    note = forms.CharField(max_length=300, required=False, label="Why these texts", help_text="Reviewers read it. May be empty.")
    again = forms.BooleanField(required=False, label="Also those that the expert was asked about before")
    key = forms.UUIDField(widget=forms.HiddenInput, required=False)  # sent twice, it is one batch

    def __init__(self, *args: Any, domain: Domain, user: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.domain = domain
        runs = imported_rollouts(domain).order_by().values_list("run").annotate(n=Count("pk")).order_by("run")
        self.fields["run"].choices = [(run, f"{run.removeprefix(RUN)} ({n:,})") for run, n in runs]  # type: ignore[attr-defined]
        self.fields["expert"].queryset = querysets.usable_by(user)  # type: ignore[attr-defined]

    @property
    def wanted(self) -> Wanted:
        return Wanted(self.domain, **{name: self.cleaned_data[name] for name in ("run", "expert", "texts", "times", "again")})


class ImportForm(forms.Form):
    """A file of prompts or rollouts."""

    kind = forms.ChoiceField(choices=[("prompts", "Prompts"), ("rollouts", "Rollouts: texts to review or grade")], label="What is in it")
    file = forms.FileField(
        help_text=f"{FORMATS}, at most {MOST_BYTES // 2**20} MB and {MOST_ROWS:,} rows; the command line takes any size.",
        widget=forms.FileInput(attrs={"accept": ",".join(SUFFIXES)}),
        error_messages={"required": "Choose a file.", "empty": "The file is empty."},
    )
    split = forms.ChoiceField(choices=[("", "As the rows say"), *Prompt.Split.choices], required=False, label="Split of prompts that say none")
    name = forms.CharField(
        max_length=NAME_LENGTH,
        required=False,
        label="Where these texts come from",
        help_text="A model's or a person's name, for example.",
    )
    checked = forms.CharField(required=False, max_length=80, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""

    def clean_file(self) -> Any:
        file = self.cleaned_data["file"]
        if file.size > MOST_BYTES:
            raise forms.ValidationError(
                f"It has {file.size / 2**20:.0f} MB, and {MOST_BYTES // 2**20} MB is the most here. Use manage.py import_prompts or import_rollouts."
            )
        return file

    def clean(self) -> dict[str, Any]:
        if self.cleaned_data.get("kind") == "rollouts" and not self.cleaned_data.get("name", "").strip():
            self.add_error("name", "Say where these texts come from, so that they can be told from others later.")
        return self.cleaned_data


def _offer(field: Any, rows: Any) -> None:
    """The first of `rows` as the field's choices; any of them is valid, so that what was chosen before stays so."""
    field.queryset = rows.filter(pk__in=list(rows.values_list("pk", flat=True)[:SAMPLES]))


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 70 else f"{text[:69]}…"
