"""Which function was computed, when it is not the declared one: hypotheses, tried on the output itself."""
