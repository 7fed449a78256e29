"""The stages: the only place where files meet functions."""
