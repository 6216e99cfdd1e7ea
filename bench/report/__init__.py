"""What a bench run shows: figures, targets, text, plots."""
