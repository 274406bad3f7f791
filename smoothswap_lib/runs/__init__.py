"""Around a training: what it is asked for, its folder, resuming, previews, shipping of the result."""
