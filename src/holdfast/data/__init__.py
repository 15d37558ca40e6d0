"""Data sets as streams: official layouts, simulated showers, checks."""
