"""All-in-One: one Transformer for video and words."""
