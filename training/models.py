"""What is done with the answers: experiments, their stages, jobs, and what came out.

Rows are written by `training.actions` (people's decisions), `training.runner` (stages) and `training.jobs` (files of running jobs).
"""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from annotation.models import Batch, Domain, Expert, Feedback
from training import presets, protocol

JOB_KINDS = ("sample", "rl", "distil", "scalar", "rewrite", "search", "optimise", "grade")  # modules of training.engine


class Suite(models.Model):
    """Arms x seeds on one domain: experiments that share base policies, prompts, eval split and ceiling. `training.suite.plan` reads its config."""

    name = models.SlugField(max_length=40, unique=True)
    title = models.CharField(max_length=160)
    domain = models.ForeignKey(Domain, on_delete=models.PROTECT, related_name="suites")
    expert = models.ForeignKey(Expert, on_delete=models.PROTECT, related_name="suites")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="suites")
    members = models.ManyToManyField(settings.AUTH_USER_MODEL, blank=True, related_name="shared_suites")
    config = models.JSONField(help_text="arms, seeds, bases and the name of the ceiling arm; fixed when it is made.")
    running = models.BooleanField(default=False, help_text="Workers start the next of its experiments as others end.")
    created = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created"]

    def __str__(self) -> str:
        return self.title


class Experiment(models.Model):
    """One run of a protocol. `config` is frozen when it starts: everything that changes a number in its results."""

    class State(models.TextChoices):
        DRAFT = "draft", "not started"
        RUNNING = "running", "running"
        WAITING = "waiting", "waiting for experts"
        PAUSED = "paused", "paused"
        STOPPED = "stopped", "stopped"
        FAILED = "failed", "failed"
        DONE = "done", "done"

    ACTIVE = (State.RUNNING, State.WAITING)

    name = models.SlugField(max_length=80, unique=True)
    title = models.CharField(max_length=160)
    domain = models.ForeignKey(Domain, on_delete=models.PROTECT, related_name="experiments")
    expert = models.ForeignKey(Expert, on_delete=models.PROTECT, related_name="experiments")
    policy = models.CharField(max_length=500, help_text="Where the policy starts: a folder for from_pretrained.")
    proxy = models.CharField(max_length=500, blank=True, help_text="Where the proxy starts; empty: like the policy.")
    proxy_version = models.ForeignKey(
        "ProxyVersion", null=True, blank=True, on_delete=models.PROTECT, related_name="retrained", help_text="Of another experiment: the first proxy."
    )
    seed = models.PositiveIntegerField(default=1)
    sample_budget = models.PositiveIntegerField(help_text="Expert samples at most, all purposes together.")
    config = models.JSONField(default=dict, help_text="presets.Plan as data, and the domain's prompts as they were at the start.")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="experiments")
    members = models.ManyToManyField(settings.AUTH_USER_MODEL, blank=True, related_name="shared_experiments")
    suite = models.ForeignKey(Suite, null=True, blank=True, on_delete=models.PROTECT, related_name="experiments")
    arm = models.CharField(max_length=30, blank=True, help_text="Of the suite.")
    base = models.CharField(max_length=20, blank=True, help_text="Name of the suite's base policy that it starts from.")
    state = models.CharField(max_length=8, choices=State, default=State.DRAFT)
    note = models.TextField(blank=True, help_text="What it is doing, waits for, or what went wrong and what to do; in words.")
    created = models.DateTimeField(default=timezone.now, editable=False)
    started = models.DateTimeField(null=True, blank=True)
    ended = models.DateTimeField(null=True, blank=True)
    best_step = models.PositiveIntegerField(null=True, editable=False, help_text="The step of the checkpoint that it stands for, once it is done.")

    class Meta:
        ordering = ["-created"]
        constraints = [
            models.CheckConstraint(condition=Q(sample_budget__gt=0), name="experiment_budget_is_positive"),
            models.UniqueConstraint(fields=["suite", "arm", "base", "seed"], name="experiment_once_per_suite"),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def plan(self) -> presets.Plan:
        return presets.Plan.from_dict(self.config["plan"])

    @property
    def protocol_name(self) -> str:
        return dict(protocol.CHOICES)[self.plan.protocol]


class Job(models.Model):
    """A training job: a folder and a process. The offsets say how far its files have been read into the database."""

    class State(models.TextChoices):
        QUEUED = "queued", "queued"
        RUNNING = "running", "running"
        STOPPED = "stopped", "stopped"
        FAILED = "failed", "failed"
        DONE = "done", "done"

    experiment = models.ForeignKey(Experiment, on_delete=models.CASCADE, related_name="jobs")
    key = models.CharField(max_length=120, help_text="Unique in the experiment: train-0030. Made twice, it is the same job.")
    kind = models.CharField(max_length=12, choices=[(kind, kind) for kind in JOB_KINDS])
    folder = models.CharField(max_length=500)
    state = models.CharField(max_length=8, choices=State, default=State.QUEUED)
    pid = models.PositiveIntegerField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0, help_text="Processes started since it was last queued.")
    follower = models.CharField(max_length=80, blank=True, help_text="Who follows its files now; nobody else may write what they say.")
    heartbeat = models.DateTimeField(null=True, blank=True, help_text="When a follower last looked after it.")
    offsets = models.JSONField(default=dict, help_text="Bytes read so far, by file name.")
    progress = models.JSONField(default=dict, help_text="done and total, in the job's own units.")
    result = models.JSONField(default=dict)
    error = models.TextField(blank=True)
    created = models.DateTimeField(default=timezone.now, editable=False)
    started = models.DateTimeField(null=True, blank=True)
    ended = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["experiment", "key"], name="job_once_per_experiment")]

    def __str__(self) -> str:
        return f"{self.experiment.name}/{self.key}"

    @property
    def path(self) -> Path:
        return Path(self.folder)


class Checkpoint(models.Model):
    """One state of the policy. Immutable."""

    experiment = models.ForeignKey(Experiment, on_delete=models.CASCADE, related_name="checkpoints")
    job = models.ForeignKey(Job, null=True, blank=True, on_delete=models.PROTECT, related_name="checkpoints")
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT)
    step = models.PositiveIntegerField()
    path = models.CharField(max_length=500, help_text="Folder for from_pretrained.")
    trainer_state = models.CharField(max_length=500, blank=True, help_text="Folder to resume the optimizer from.")
    digest = models.CharField(max_length=64, help_text="SHA-256 of the weights.")
    created = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["step", "id"]
        constraints = [models.UniqueConstraint(fields=["experiment", "step"], name="checkpoint_once_per_step")]

    def __str__(self) -> str:
        return f"checkpoint at step {self.step}"


class ProxyVersion(models.Model):
    """One state of the proxy: its model, its prompts, how it samples, and the feedback it was made from. Immutable."""

    experiment = models.ForeignKey(Experiment, on_delete=models.CASCADE, related_name="proxies")
    job = models.ForeignKey(Job, null=True, blank=True, on_delete=models.PROTECT, related_name="proxies")
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT)
    number = models.PositiveIntegerField()
    method = models.CharField(max_length=30, help_text="baseline, full-trace, ...")
    step = models.PositiveIntegerField(default=0, help_text="The policy's step when it was made.")
    judge = models.JSONField(help_text="Backend and options: what a reward process loads.")
    digest = models.CharField(max_length=64, help_text="SHA-256 over weights, prompts and sampling.")
    feedback = models.ManyToManyField(Feedback, blank=True, related_name="proxies")
    created = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["number"]
        constraints = [models.UniqueConstraint(fields=["experiment", "number"], name="proxy_number_once")]

    def __str__(self) -> str:
        return f"proxy v{self.number}"


class Candidate(models.Model):
    """One grading prompt that a search tried, whether it was kept or not. Immutable: what it was written from, and how well it agreed."""

    stage = models.ForeignKey("Stage", on_delete=models.CASCADE, related_name="candidates")
    number = models.PositiveIntegerField(help_text="From 1; 0 is the prompts that the proxy had before, measured on the same texts.")
    prompts = models.JSONField(help_text="Grading prompts as the grader takes them.")
    by_task = models.JSONField(default=dict, help_text="Grading prompts of single tasks, by the digest of the task.")
    feedback = models.ManyToManyField(Feedback, blank=True, related_name="candidates")
    words = models.TextField(blank=True, help_text="All that its writer wrote.")
    scores = models.JSONField(default=dict, help_text="The mean score that it gave each validation rollout, by the rollout's id.")
    value = models.FloatField(null=True, help_text="Alignment on the validation rollouts; empty where it is not defined, and the note says why.")
    low = models.FloatField(null=True)
    high = models.FloatField(null=True)
    samples = models.PositiveIntegerField(default=0)
    left_out = models.PositiveIntegerField(default=0)
    note = models.CharField(max_length=200, blank=True)
    chosen = models.BooleanField(default=False)

    class Meta:
        ordering = ["number"]
        constraints = [models.UniqueConstraint(fields=["stage", "number"], name="candidate_once_per_number")]

    def __str__(self) -> str:
        return f"candidate {self.number}"


class Stage(models.Model):
    """One stage of the protocol as carried out: its place, what was asked, and its outcome once it has ended."""

    experiment = models.ForeignKey(Experiment, on_delete=models.CASCADE, related_name="stages")
    number = models.PositiveIntegerField()
    kind = models.CharField(max_length=12)
    key = models.CharField(max_length=80, help_text="What the protocol calls it: train-30.")
    arguments = models.JSONField(default=dict)
    outcome = models.JSONField(null=True, blank=True)
    job = models.ForeignKey(Job, null=True, blank=True, on_delete=models.PROTECT, related_name="stages")
    batch = models.ForeignKey(Batch, null=True, blank=True, on_delete=models.PROTECT, related_name="stages")
    started = models.DateTimeField(default=timezone.now)
    ended = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["number"]
        constraints = [
            models.UniqueConstraint(fields=["experiment", "number"], name="stage_once_per_number"),
            models.UniqueConstraint(fields=["experiment", "key"], name="stage_once_per_key"),
        ]

    def __str__(self) -> str:
        return self.key


class StepMetric(models.Model):
    """What one RL step logged: reward, its spread, length, unscored share, unique share, seconds by part."""

    experiment = models.ForeignKey(Experiment, on_delete=models.CASCADE, related_name="step_metrics")
    job = models.ForeignKey(Job, on_delete=models.CASCADE)
    step = models.PositiveIntegerField()
    data = models.JSONField()

    class Meta:
        ordering = ["step"]
        constraints = [models.UniqueConstraint(fields=["experiment", "step"], name="metrics_once_per_step")]

    def __str__(self) -> str:
        return f"step {self.step}"


class Measurement(models.Model):
    """One number that was measured, with its 95% interval and what it rests on."""

    experiment = models.ForeignKey(Experiment, on_delete=models.CASCADE, related_name="measurements")
    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, related_name="measurements")
    name = models.CharField(
        max_length=40,
        help_text="expert_reward, proxy_reward, alignment, alignment_change, raw_correlation, predicted_gain, unscored_rate, unique_rate",
    )
    step = models.PositiveIntegerField(help_text="The policy's step.")
    proxy = models.ForeignKey(ProxyVersion, null=True, blank=True, on_delete=models.PROTECT)
    when = models.CharField(max_length=10, blank=True, help_text="before or after, for a proxy at a realignment.")
    value = models.FloatField(null=True, help_text="Empty where it is not defined; the note says why.")
    low = models.FloatField(null=True)
    high = models.FloatField(null=True)
    samples = models.PositiveIntegerField(default=0)
    left_out = models.PositiveIntegerField(default=0, help_text="Prompts or samples that could not enter.")
    note = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["step", "id"]
        constraints = [
            models.UniqueConstraint(fields=["stage", "name", "proxy", "when"], nulls_distinct=False, name="measured_once"),
        ]

    def __str__(self) -> str:
        return f"{self.name} at step {self.step}"
