"""Where groups come from: masks, what they are made of, and segmenters. Knows nothing of files."""
