"""Pictures in and out: reading, writing, filling what was not decoded, previews."""
