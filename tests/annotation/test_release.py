"""The command that gives back items."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from annotation.models import AuditEntry, Claim
from tests.annotation.makers import claim_one, make_batch, states


def released(*options):
    out = StringIO()
    call_command("release_claims", *options, stdout=out)
    return out.getvalue()


@pytest.fixture
def batch(domain, panel, alice, bob):
    batch = make_batch(panel, domain, 2)
    claim_one(alice)
    claim_one(bob)
    return batch


def test_by_itself_it_gives_back_only_what_has_run_out(batch, alice):
    assert "0 leases" in released()
    Claim.objects.filter(user=alice).update(expires=timezone.now())
    assert "1 leases" in released()
    assert states(batch) == ["ready", "claimed"]


def test_it_gives_back_what_one_person_holds_and_says_so_in_the_log(batch, alice):
    assert "1 items" in released("--user=alice", "--reason=on holiday")
    assert states(batch) == ["ready", "claimed"]
    entry = AuditEntry.objects.get(verb="released")
    assert (entry.data["reason"], entry.data["holder"]) == ("on holiday", alice.pk)


def test_it_gives_back_what_anybody_holds_of_a_batch(batch):
    assert "2 items" in released(f"--batch={batch.pk}")
    assert states(batch) == ["ready", "ready"]


@pytest.mark.parametrize("option", ["--user=nobody", "--batch=nothing"])
def test_who_or_what_is_not_there_is_a_plain_error(option, batch):
    with pytest.raises(CommandError, match=r"There is no .* no"):
        released(option)
