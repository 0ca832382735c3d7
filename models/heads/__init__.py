"""One file per head; the file name is the head's name."""
