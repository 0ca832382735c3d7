"""The contract between the stages: what a feature is, how it is stored, which videos exist."""
