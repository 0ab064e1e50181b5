"""Where inputs are: lists of many of them."""
