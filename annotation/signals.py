"""What other apps may listen to."""

from __future__ import annotations

from django.dispatch import Signal

# Sent after the commit that changed a batch (a verdict landed, it was closed or reopened), with `batch_id` and whether it is `closed`. It may
# come late, twice or, after a crash, never: whoever must know for certain asks the rows.
batch_changed = Signal()

# Asked by pages on which somebody chooses an experiment, which this app does not know: receivers give the names.
experiments_named = Signal()
