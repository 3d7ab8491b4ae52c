"""`run_experiment` for the experiment that the folder is named after."""

import sys
from pathlib import Path

from django.core.management import call_command

if __name__ == "__main__":
    call_command("run_experiment", Path(sys.argv[1]).name)
