"""How long it takes until a promise holds again, measured over and over, with real processes."""
