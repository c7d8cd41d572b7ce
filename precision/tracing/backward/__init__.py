"""Gradients of two models: exact ones of each layer, handed back from the outputs to the inputs."""
