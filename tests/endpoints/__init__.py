"""A server on loopback that limits, fails and bills as those of language models do, and its ledger."""
