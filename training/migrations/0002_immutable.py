"""Checkpoints and proxy versions are what results rest on: the database refuses to change one."""

from django.db import migrations

REFUSE = """
CREATE TRIGGER checkpoint_is_immutable BEFORE UPDATE ON training_checkpoint FOR EACH ROW EXECUTE FUNCTION annotation_refuse_change();
CREATE TRIGGER proxy_version_is_immutable BEFORE UPDATE ON training_proxyversion FOR EACH ROW EXECUTE FUNCTION annotation_refuse_change();
"""
ALLOW = """
DROP TRIGGER proxy_version_is_immutable ON training_proxyversion;
DROP TRIGGER checkpoint_is_immutable ON training_checkpoint;
"""


class Migration(migrations.Migration):
    dependencies = [("training", "0001_initial"), ("annotation", "0002_append_only")]
    operations = [migrations.RunSQL(REFUSE, ALLOW)]
