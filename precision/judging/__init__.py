"""From an output and its truth to a verdict: the parts of the error, their evidence, their limits."""
