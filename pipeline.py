"""The two stages as plain functions."""
