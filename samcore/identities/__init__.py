"""Who is who among detected objects: association with tracks, and the ledger of their ids."""
