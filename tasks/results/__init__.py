"""What is published: results in folders and buckets, and what is said of them."""
