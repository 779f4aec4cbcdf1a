"""The watch cache: every object decoded once, its bytes kept once, its changes fanned out to watchers by index."""
