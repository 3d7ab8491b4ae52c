"""The whole loop in miniature on one machine: `manage.py demo`."""
