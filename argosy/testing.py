"""The pytest plugin of Argosy."""
