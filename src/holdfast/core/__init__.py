"""What every room shares: errors, records, registry, seeds, progress, paths, statistics. Imports no torch."""
