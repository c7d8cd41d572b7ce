"""The order in which a kernel adds its products: asked of a live framework, or found in an output."""
