"""A run turned into something a person reads."""
