"""From portrait to decision: strategies, and whom to contact with what, through which channel, at which hour."""
