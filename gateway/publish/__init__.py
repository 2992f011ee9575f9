"""Publishing: sealed versions to targets, each on its own, at least once, with effects that happen once."""
