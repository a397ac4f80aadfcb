"""Whether an output kept all that its source holds, read by code of its own."""
