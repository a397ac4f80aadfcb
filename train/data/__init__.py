"""Training examples: pictures, synthetic blur, degradation."""
