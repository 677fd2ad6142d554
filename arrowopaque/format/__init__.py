"""What is stored: specs, names, predicates, values and manifests."""
