"""The report: one self-contained HTML page by which a person judges a result in a minute."""
