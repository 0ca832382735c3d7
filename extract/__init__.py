"""Stage one: a video file in, feature arrays out."""
