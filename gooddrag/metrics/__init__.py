"""Measures of edits: each is a function of pictures and points, none knows how the picture was made."""
