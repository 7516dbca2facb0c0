"""Calls on their way in: the port, TLS, tokens, admission, the reading of messages, and health."""
