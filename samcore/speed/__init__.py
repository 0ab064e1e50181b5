"""How fast a model tracks on this machine, and what bounds it: what `longtake bench` measures."""
