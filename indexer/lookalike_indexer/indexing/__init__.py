"""Search indexes over a space: what to build, building it, and measuring its recall."""
