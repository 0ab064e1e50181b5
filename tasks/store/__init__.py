"""Outside servers: object stores, the web, queues, and leases on a store."""
