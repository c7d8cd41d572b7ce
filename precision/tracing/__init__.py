"""Whole models, layer by layer: what each layer adds to the error, and what it inherits."""
