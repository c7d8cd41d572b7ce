"""What a tensor core would do to a layer, without the tensor core."""
