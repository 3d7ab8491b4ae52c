"""An engine that tells what it sees of its environment."""
