"""Pages. Everything that changes a row goes through `annotation.actions`."""
