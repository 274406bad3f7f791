"""Swaps of one's own: the lab behind the widgets, photographs, and the marks that say what a picture is."""
