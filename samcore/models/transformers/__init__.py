"""The families that the package `transformers` has: SAM 2, SAM 3's tracker and EdgeTAM."""
