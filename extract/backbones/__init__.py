"""One file per backbone; the file name is the backbone's name."""
