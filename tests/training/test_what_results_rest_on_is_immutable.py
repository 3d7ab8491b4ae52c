"""A checkpoint or a proxy version that a result rests on cannot be changed afterwards."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, transaction

from training import actions
from training.models import Checkpoint, ProxyVersion


@pytest.fixture
def started(make):
    experiment = make()
    actions.start(experiment, actor=experiment.owner)
    return experiment


def test_a_checkpoint_cannot_be_changed(started):
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        Checkpoint.objects.filter(experiment=started).update(digest="0" * 64)


def test_a_proxy_version_cannot_be_changed(started):
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        ProxyVersion.objects.filter(experiment=started).update(judge={"backend": "elsewhere"})
