"""What the trials of a sweep mean: distributions, comparisons, figures."""
