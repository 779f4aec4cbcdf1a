"""List and watch into a local cache."""
