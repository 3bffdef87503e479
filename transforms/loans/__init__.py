"""The way to a loan: how far customers come on it, whom finance may be offered, and what people decided about them."""
