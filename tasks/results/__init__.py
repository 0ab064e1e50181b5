"""What is published: the door to results, those in buckets, and what is said of them."""
