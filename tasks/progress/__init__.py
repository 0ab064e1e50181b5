"""How far a run is, and who wants to know."""
