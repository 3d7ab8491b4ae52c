"""Who gets asked, what they said, and what it cost.

Rows are written by `annotation.actions` alone. What an experiment or a checkpoint is, this app does not know: it keeps their
names and hashes as text.
"""

from __future__ import annotations

import hashlib
import uuid

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from grading.types import TraceFormat


def digest_of(text: str) -> str:
    """SHA-256 of `text` in UTF-8, as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


class Domain(models.Model):
    """A kind of task: what is written, how it is graded, and what reviewers are told."""

    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=120)
    description = models.TextField(blank=True)
    generation_prompt = models.TextField(help_text="What the policy is asked. {NAME} stands for a prompt's variable NAME.")
    grading_prompt = models.TextField(help_text="What a grader is asked: the baseline. {INSTRUCTIONS} and {CONTENT} stand for the case.")
    rubric_prompt = models.TextField(
        blank=True,
        help_text="What a strong model is asked that writes a grading prompt. {EXAMPLES} stands for texts with the expert's and the proxy's traces.",
    )
    context_prompt = models.TextField(
        blank=True,
        help_text="How a proxy is shown what the expert wrote when it writes a trace of its own. {GRADING} stands for the filled grading prompt, "
        "{EXPERT} for the expert's words. Empty: in general words.",
    )
    guidelines = models.TextField(blank=True, help_text="Markdown, for reviewers.")
    content_tag = models.CharField(max_length=40, blank=True, help_text="Tag around the text inside a completion; empty: all of it.")
    critique_tag = models.CharField(max_length=40, default="critique")
    deliberation_tag = models.CharField(max_length=40, default="deliberation")
    score_tag = models.CharField(max_length=40, default="score")
    score_min = models.FloatField(default=0)
    score_max = models.FloatField(default=100)
    score_required = models.BooleanField(default=True)
    score_anchors = models.JSONField(default=list, blank=True, help_text='Words along the scale, low to high: ["weak", "fair", "good"].')
    created = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name"]
        constraints = [models.CheckConstraint(condition=Q(score_min__lt=F("score_max")), name="domain_score_range_is_not_empty")]

    def __str__(self) -> str:
        return self.name

    @property
    def trace_format(self) -> TraceFormat:
        return TraceFormat(self.critique_tag, self.deliberation_tag, self.score_tag, self.score_min, self.score_max)


class Prompt(models.Model):
    """One task instance of a domain, in the train or the eval split."""

    class Split(models.TextChoices):
        TRAIN = "train", "train"
        EVAL = "eval", "eval"

    domain = models.ForeignKey(Domain, on_delete=models.PROTECT, related_name="prompts")
    split = models.CharField(max_length=5, choices=Split)
    variables = models.JSONField(default=dict, help_text="Values for the generation prompt's placeholders.")
    text = models.TextField(help_text="The generation prompt with its variables filled in: what the policy reads.")
    digest = models.CharField(max_length=64, editable=False)
    created = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["domain", "digest"], name="prompt_once_per_domain")]
        indexes = [models.Index(fields=["domain", "split", "id"])]

    def __str__(self) -> str:
        return self.text[:80]


class Rollout(models.Model):
    """One completion of one prompt by one checkpoint. Those of one prompt at one step of one run are a group."""

    prompt = models.ForeignKey(Prompt, on_delete=models.PROTECT, related_name="rollouts")
    run = models.CharField(max_length=120, help_text="What made it: a training job's name or an import's.")
    checkpoint = models.CharField(max_length=64, blank=True, help_text="SHA-256 of the weights, where known.")
    step = models.PositiveIntegerField(default=0, help_text="RL steps behind the checkpoint.")
    index = models.PositiveIntegerField(default=0, help_text="Position in the group.")
    completion = models.TextField(help_text="All that the policy wrote.")
    content = models.TextField(help_text="The text to judge, taken out of the completion.")
    finished = models.BooleanField(default=True)
    tokens = models.PositiveIntegerField(default=0)
    sampling = models.JSONField(default=dict)
    created = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["run", "step", "prompt", "index"], name="rollout_once_per_run")]

    def __str__(self) -> str:
        return f"{self.run} step {self.step}: {self.content[:60]}"


class ProxyGrade(models.Model):
    """One grading trace of one proxy version on one rollout."""

    rollout = models.ForeignKey(Rollout, on_delete=models.CASCADE, related_name="proxy_grades")
    proxy = models.CharField(max_length=64, help_text="Digest of the proxy version.")
    run = models.CharField(max_length=120, help_text="The job that asked.")
    sample = models.PositiveIntegerField(default=0)
    score = models.FloatField(null=True)
    critique = models.TextField(blank=True)
    deliberation = models.TextField(blank=True)
    raw = models.TextField(blank=True)
    unscored_reason = models.CharField(max_length=200, blank=True)
    created = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["rollout", "proxy", "run", "sample"], name="proxy_grade_once")]

    def __str__(self) -> str:
        return f"{self.score} on rollout {self.rollout_id}"


class Expert(models.Model):
    """Who gives the ground truth: a panel of people, a language model, a program, or several of these by a rule (`annotation.routing`)."""

    class Kind(models.TextChoices):
        HUMAN = "human", "people"
        LLM = "llm", "language model"
        PROGRAM = "program", "program"
        MIXED = "mixed", "several experts"

    ALONE = (Kind.LLM, Kind.PROGRAM)  # those that answer by themselves

    alias = models.SlugField(unique=True)
    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=8, choices=Kind)
    backend = models.CharField(max_length=60, blank=True, help_text="Key in settings.EXPERTS; empty for people and for several experts.")
    options = models.JSONField(default=dict, blank=True, help_text="Overrides of the backend's options, or the rule of several experts. No secrets.")
    members = models.ManyToManyField(settings.AUTH_USER_MODEL, blank=True, related_name="expert_panels", help_text="Whose queue a human expert is.")
    price = models.CharField(max_length=80, blank=True, help_text="The name that its prices go by; empty: it costs nothing.")
    users = models.ManyToManyField(
        settings.AUTH_USER_MODEL, blank=True, related_name="usable_experts", help_text="Who may use it in experiments; nobody chosen: everybody."
    )
    active = models.BooleanField(default=True)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=Q(kind__in=["human", "mixed"], backend="") | (Q(kind__in=["llm", "program"]) & ~Q(backend="")),
                name="expert_backend_if_it_answers_alone",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Batch(models.Model):
    """Rollouts selected for the expert in one go, for one purpose."""

    class Purpose(models.TextChoices):
        INITIAL = "initial", "initial"
        UPDATE = "update", "update"
        VALIDATION = "validation", "validation"
        CHECK = "check", "check"
        EVAL = "eval", "evaluation"
        CALIBRATION = "calibration", "calibration"
        REWARD = "reward", "reward"  # RL straight on the expert: the ceiling
        IMPORTED = "imported", "imported texts"  # of no experiment

    domain = models.ForeignKey(Domain, on_delete=models.PROTECT, related_name="batches")
    expert = models.ForeignKey(Expert, on_delete=models.PROTECT, related_name="batches")
    experts = models.ManyToManyField(Expert, related_name="asked_in", help_text="Who is asked: the expert, or those that it stands for.")
    key = models.CharField(max_length=160, unique=True, help_text="Who asked and for what; asking twice under one key makes one batch.")
    title = models.CharField(max_length=200)
    purpose = models.CharField(max_length=12, choices=Purpose)
    strategy = models.CharField(max_length=20, default="random")
    seed = models.BigIntegerField(default=0)
    priority = models.IntegerField(default=0)
    lease_seconds = models.PositiveIntegerField(default=900)
    experiment = models.CharField(max_length=80, blank=True, db_index=True, help_text="Name of the experiment that asked.")
    proxy = models.CharField(max_length=64, blank=True, help_text="Digest of the proxy version when it was selected.")
    note = models.CharField(max_length=300, blank=True, help_text="Why these rollouts, in words a reviewer understands.")
    repeat_share = models.FloatField(default=0, help_text="Hidden repeats, as a share of the verdicts wanted: the same person is asked twice.")
    gold_share = models.FloatField(default=0, help_text="Gold items (their score is known), as a share of the verdicts wanted.")
    deadline = models.DateTimeField(null=True, blank=True, help_text="When the texts that people left go to who steps in for them.")
    # What the job that fills a reward batch may still spend of budgets: verdicts, and the most that each of them costs.
    held = models.PositiveIntegerField(default=0)
    held_money = models.DecimalField(max_digits=14, decimal_places=6, default=0)
    held_tokens = models.DecimalField(max_digits=14, decimal_places=0, default=0)
    provider_batches = models.JSONField(default=dict, blank=True, help_text="What the expert's provider has in batches of its own, by their ids.")
    provider_look = models.DateTimeField(null=True, blank=True, help_text="Until then nobody else sees to the provider's batches.")
    closed = models.DateTimeField(null=True, blank=True, help_text="When nothing more was wanted of it.")
    created = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-priority", "id"]
        verbose_name_plural = "batches"
        constraints = [
            models.CheckConstraint(
                condition=Q(repeat_share__gte=0, repeat_share__lte=0.5, gold_share__gte=0, gold_share__lte=0.5), name="batch_shares_are_at_most_half"
            ),
        ]

    def __str__(self) -> str:
        return self.title


class Outage(models.Model):
    """An expert that does not answer, or that cannot answer one batch, and rests. The row is gone as soon as it answers."""

    expert = models.ForeignKey(Expert, on_delete=models.CASCADE, related_name="outages")
    batch = models.ForeignKey(Batch, null=True, blank=True, on_delete=models.CASCADE, related_name="outages", help_text="Empty: all of them.")
    since = models.DateTimeField()
    last = models.DateTimeField(help_text="When it failed last.")
    failures = models.PositiveIntegerField(default=0, help_text="In a row; several at once count as one.")
    error = models.CharField(max_length=300)
    not_before = models.DateTimeField()
    probe_until = models.DateTimeField(null=True, blank=True, help_text="Until then one task tries, and the others wait for it.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["expert", "batch"], nulls_distinct=False, name="one_outage_per_expert_and_batch")]

    def __str__(self) -> str:
        return f"{self.expert_id} since {self.since:%Y-%m-%d %H:%M}: {self.error}"


class Gold(models.Model):
    """A rollout whose score is known. It comes up among the others to see how well an expert hits it."""

    rollout = models.OneToOneField(Rollout, on_delete=models.PROTECT, related_name="gold")
    score = models.FloatField()
    note = models.CharField(max_length=300, blank=True, help_text="Where the score comes from.")
    created = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["id"]
        verbose_name_plural = "gold"

    def __str__(self) -> str:
        return f"{self.score:g} for rollout {self.rollout_id}"


class Item(models.Model):
    """One verdict wanted on one rollout. Where several reviewers are wanted, each has a slot.

    A control is there to measure who answers: its verdict is neither waited for nor learnt from.
    """

    class State(models.TextChoices):
        READY = "ready", "ready"
        CLAIMED = "claimed", "claimed"
        DONE = "done", "done"
        CANCELLED = "cancelled", "cancelled"

    class Control(models.TextChoices):
        REPEAT = "repeat", "hidden repeat"
        GOLD = "gold", "gold"

    batch = models.ForeignKey(Batch, on_delete=models.PROTECT, related_name="items")
    rollout = models.ForeignKey(Rollout, on_delete=models.PROTECT, related_name="items")
    expert = models.ForeignKey(Expert, on_delete=models.PROTECT, related_name="items", help_text="Who is asked.")
    slot = models.PositiveSmallIntegerField(default=0)
    position = models.PositiveIntegerField(default=0)
    state = models.CharField(max_length=9, choices=State, default=State.READY)
    control = models.CharField(max_length=6, choices=Control, blank=True)
    reviewer = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="named_items", help_text="Only this person gets it."
    )

    class Meta:
        ordering = ["batch_id", "position"]
        constraints = [models.UniqueConstraint(fields=["batch", "rollout", "control", "slot"], name="item_once_per_batch_and_slot")]
        indexes = [
            models.Index(fields=["batch", "expert", "position"], condition=Q(state="ready"), name="item_ready"),
            models.Index(fields=["batch"], condition=Q(state="claimed"), name="item_claimed"),
        ]

    def __str__(self) -> str:
        return f"item {self.pk} of batch {self.batch_id}"


class Claim(models.Model):
    """A lease on an item: nobody else gets it until it is submitted, given back, or expires.

    A claim that is not opened yet was only fetched ahead: the person has not seen the text, and who has nothing else to do may take it.
    """

    class Outcome(models.TextChoices):
        SUBMITTED = "submitted", "submitted"
        DECLINED = "declined", "declined"
        RELEASED = "released", "released"
        EXPIRED = "expired", "expired"

    class Decline(models.TextChoices):
        CONFLICT = "conflict", "I have a conflict of interest"
        EXPERTISE = "expertise", "It is outside my expertise"
        UNREADABLE = "unreadable", "It cannot be read"
        OTHER = "other", "Something else"

    token = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    item = models.ForeignKey(Item, on_delete=models.PROTECT, related_name="claims")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="claims")
    started = models.DateTimeField(default=timezone.now)
    opened = models.DateTimeField(null=True, blank=True, help_text="When the text was first shown; empty while it is only fetched ahead.")
    expires = models.DateTimeField()
    ended = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=9, choices=Outcome, blank=True)
    declined = models.CharField(max_length=10, choices=Decline, blank=True, help_text="Why it was declined.")
    reason = models.CharField(max_length=300, blank=True, help_text="The same in the person's own words.")
    # What an open claim holds of budgets besides one verdict: the most, or for people the usual.
    held_money = models.DecimalField(max_digits=14, decimal_places=6, default=0, db_default=0)
    held_tokens = models.DecimalField(max_digits=14, decimal_places=0, default=0, db_default=0)
    held_minutes = models.DecimalField(max_digits=14, decimal_places=2, default=0, db_default=0)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["item"], condition=Q(ended=None), name="one_open_claim_per_item"),
            models.UniqueConstraint(fields=["user"], condition=Q(ended=None, opened__isnull=False), name="one_open_claim_per_person"),
            models.UniqueConstraint(fields=["user"], condition=Q(ended=None, opened=None), name="one_claim_ahead_per_person"),
            models.CheckConstraint(
                condition=Q(ended=None, outcome="") | (Q(ended__isnull=False) & ~Q(outcome="")), name="claim_ends_with_an_outcome"
            ),
        ]
        indexes = [
            models.Index(fields=["expires"], condition=Q(ended=None), name="claim_open_by_expiry"),
            models.Index(fields=["item"], condition=Q(ended=None, opened=None), name="claim_ahead"),
        ]

    def __str__(self) -> str:
        return f"claim on item {self.item_id}, {self.outcome or 'open'}"


class Draft(models.Model):
    """What a person has written so far on an item. `version` grows with each save."""

    item = models.ForeignKey(Item, on_delete=models.CASCADE, related_name="drafts")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="drafts")
    critique = models.TextField(blank=True)
    deliberation = models.TextField(blank=True)
    score = models.CharField(max_length=20, blank=True, help_text="As typed; it may not be a number yet.")
    spans = models.JSONField(default=list, blank=True, help_text="Highlights as the page writes them: start, end, quote, sign, comment.")
    version = models.PositiveIntegerField(default=1)
    saved = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["item", "user"], name="one_draft_per_item_and_user")]

    def __str__(self) -> str:
        return f"draft {self.version} on item {self.item_id}"


class Feedback(models.Model):
    """The expert's finished verdict on an item. Append-only: a correction is a new revision."""

    item = models.ForeignKey(Item, on_delete=models.PROTECT, related_name="feedback")
    expert = models.ForeignKey(Expert, on_delete=models.PROTECT, related_name="feedback")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="feedback")
    claim = models.ForeignKey(Claim, null=True, blank=True, on_delete=models.PROTECT, related_name="feedback")
    key = models.CharField(max_length=80, unique=True, help_text="Idempotency key: the same key lands once.")
    revision = models.PositiveIntegerField(default=1)
    current = models.BooleanField(default=True, help_text="False once a later revision stands.")
    counted = models.BooleanField(default=True, help_text="False for an extra verdict that came after its lease had passed on.")
    score = models.FloatField(null=True, blank=True)
    critique = models.TextField(blank=True)
    deliberation = models.TextField(blank=True)
    raw = models.TextField(blank=True)
    unscored_reason = models.CharField(max_length=200, blank=True)
    assisted = models.BooleanField(default=False, help_text="Written after seeing the proxy's and other people's verdicts on the same text.")
    reason = models.CharField(max_length=300, blank=True, help_text="Why it stands in the place of an earlier revision.")
    usage = models.JSONField(default=dict, blank=True)
    expert_options = models.JSONField(default=dict, blank=True, help_text="The expert's options at the time, without secrets.")
    started = models.DateTimeField()
    submitted = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["id"]
        verbose_name_plural = "feedback"
        constraints = [
            models.UniqueConstraint(
                fields=["item", "expert", "author"], condition=Q(current=True), nulls_distinct=False, name="one_current_feedback_per_item_and_expert"
            ),
            models.UniqueConstraint(fields=["item"], condition=Q(current=True, counted=True), name="one_counted_feedback_per_item"),
        ]

    def __str__(self) -> str:
        return f"feedback {self.pk} on item {self.item_id}"

    @property
    def seconds(self) -> float:
        """Time from opening the text to submitting."""
        return (self.submitted - self.started).total_seconds()


class Span(models.Model):
    """A passage of the content that a verdict points at: [start, end) in Unicode code points, with the words quoted."""

    class Sign(models.TextChoices):
        STRENGTH = "+", "strength"
        WEAKNESS = "-", "weakness"

    feedback = models.ForeignKey(Feedback, on_delete=models.CASCADE, related_name="spans")
    start = models.PositiveIntegerField()
    end = models.PositiveIntegerField()
    quote = models.TextField()
    sign = models.CharField(max_length=1, choices=Sign)
    comment = models.TextField(blank=True)

    class Meta:
        ordering = ["start", "id"]
        constraints = [models.CheckConstraint(condition=Q(start__lt=F("end")), name="span_is_not_empty")]

    def __str__(self) -> str:
        return f"{self.sign} {self.quote[:60]}"


class Reveal(models.Model):
    """From this moment on a person knows what the proxy and others said about a rollout: what they write on it is assisted."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="reveals")
    rollout = models.ForeignKey(Rollout, on_delete=models.PROTECT, related_name="reveals")
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "rollout"], name="one_reveal_per_person_and_rollout")]

    def __str__(self) -> str:
        return f"rollout {self.rollout_id} revealed to {self.user_id}"


class Price(models.Model):
    """What verdicts cost, in dollars, from a day on. Never edited: a new price is a new row."""

    name = models.CharField(max_length=80, help_text="What experts name: a model's id, or what people are paid by.")
    since = models.DateField(help_text="The first day on which it holds, in UTC.")
    input = models.DecimalField("input, $ per million tokens", max_digits=12, decimal_places=4, default=0)
    output = models.DecimalField("output, $ per million tokens", max_digits=12, decimal_places=4, default=0)
    cache_read = models.DecimalField("read from a cache, $ per million tokens", max_digits=12, decimal_places=4, default=0)
    cache_write = models.DecimalField("written to a cache, $ per million tokens", max_digits=12, decimal_places=4, default=0)
    batch_discount = models.DecimalField(
        "discount by batch", max_digits=4, decimal_places=3, default=0, help_text="Share off what comes by a provider's batches: 0.5 is half price."
    )
    per_verdict = models.DecimalField("$ per verdict", max_digits=12, decimal_places=4, default=0)
    per_minute = models.DecimalField("$ per minute of a person", max_digits=12, decimal_places=4, default=0)

    class Meta:
        ordering = ["name", "-since"]
        constraints = [
            models.UniqueConstraint(fields=["name", "since"], name="price_once_per_day"),
            models.CheckConstraint(
                condition=Q(input__gte=0, output__gte=0, cache_read__gte=0, cache_write__gte=0, per_verdict__gte=0, per_minute__gte=0)
                & Q(batch_discount__gte=0, batch_discount__lte=1),
                name="price_is_not_negative",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} from {self.since}"


class Budget(models.Model):
    """A limit on what verdicts may cost, from its making on: of an expert, an experiment, a person, or of all together.

    `spent` is the sum of the charges within its scope; what open claims hold comes on top of it.
    """

    class Unit(models.TextChoices):
        SAMPLES = "samples", "verdicts"
        MONEY = "money", "dollars"
        TOKENS = "tokens", "tokens"
        MINUTES = "minutes", "minutes"

    expert = models.ForeignKey(Expert, null=True, blank=True, on_delete=models.PROTECT, related_name="budgets")
    experiment = models.CharField(max_length=80, blank=True, help_text="Name of an experiment.")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="budgets", verbose_name="person")
    unit = models.CharField(max_length=7, choices=Unit)
    limit = models.DecimalField(max_digits=18, decimal_places=6)
    hard = models.BooleanField(default=True, help_text="Nobody is asked beyond it; otherwise it only warns.")
    spent = models.DecimalField(max_digits=18, decimal_places=6, default=0)
    short = models.DateTimeField(null=True, blank=True, help_text="Since when what is left is too little for one more verdict.")
    warned = models.DateTimeField(null=True, blank=True, help_text="When it was noted that the limit was reached.")
    created = models.DateTimeField(default=timezone.now, editable=False)
    ended = models.DateTimeField(null=True, blank=True, help_text="From when on it limits nothing.")

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["expert", "experiment", "user", "unit"], condition=Q(ended=None), nulls_distinct=False, name="one_budget_per_scope_and_unit"
            ),
            models.CheckConstraint(condition=Q(limit__gte=0), name="budget_limit_is_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.limit.normalize():f} {self.get_unit_display()} of {self.scope}"

    @property
    def scope(self) -> str:
        """Whose verdicts it limits, in words."""
        parts = [str(self.expert) if self.expert else "", f"experiment {self.experiment}" if self.experiment else ""]
        return ", ".join(part for part in [*parts, self.user.get_username() if self.user else ""] if part) or "everything"

    def within(self, *, expert: str = "expert", experiment: str = "experiment", user: str = "user") -> Q:
        """Of rows of another model: those in its scope. The names are of the fields that say whose a row is; user "": it is nobody's."""
        found = Q(**{expert: self.expert_id}) if self.expert_id is not None else Q()
        found &= Q(**{experiment: self.experiment}) if self.experiment else Q()
        if self.user_id is None:
            return found
        return found & (Q(**{user: self.user_id}) if user else Q(pk__in=[]))


class Charge(models.Model):
    """What one verdict cost: the ledger. Never edited, and one for each verdict at most."""

    feedback = models.OneToOneField(Feedback, on_delete=models.PROTECT, related_name="charge")
    expert = models.ForeignKey(Expert, on_delete=models.PROTECT, related_name="charges")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="charges")
    experiment = models.CharField(max_length=80, blank=True)
    purpose = models.CharField(max_length=12, choices=Batch.Purpose)
    samples = models.PositiveSmallIntegerField(default=1)
    money = models.DecimalField(max_digits=14, decimal_places=6, help_text="Dollars.")
    tokens = models.PositiveBigIntegerField(help_text="Read and written, cached or not.")
    minutes = models.DecimalField(max_digits=14, decimal_places=2, help_text="Of a person, from opening the text; 0 for programs and models.")
    price = models.ForeignKey(Price, null=True, blank=True, on_delete=models.PROTECT, related_name="charges")
    at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(fields=["experiment", "id"]), models.Index(fields=["expert", "id"])]

    def __str__(self) -> str:
        return f"${self.money} for feedback {self.feedback_id}"


class AuditEntry(models.Model):
    """One state change: who did what to which object, and when. Never edited."""

    at = models.DateTimeField(default=timezone.now, editable=False)
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    verb = models.CharField(max_length=40)
    target = models.CharField(max_length=160, db_index=True, help_text="Kind and key: batch:12, experiment:stories.")
    data = models.JSONField(default=dict)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "audit entries"

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} {self.verb} {self.target}"
