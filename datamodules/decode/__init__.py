"""Exact frames of a video file, and what the file promises."""
