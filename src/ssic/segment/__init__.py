"""From pixels to groups: segmenters, and the masks that are made of what they find."""
