"""What this machine can measure, and which of its switches contradict each other."""
