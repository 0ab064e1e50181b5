"""How good masks are, held against the truth: J, F and J&F, identities, readers of ground truth."""
