"""Kinds that are answered and never stored: access reviews, token reviews, self subject reviews."""
