"""Score how well an action is performed in a video, and say where and why."""

__version__ = "0.1.0"
