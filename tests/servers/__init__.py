"""Real servers for the tests: object storage, queues, faults put in between."""
