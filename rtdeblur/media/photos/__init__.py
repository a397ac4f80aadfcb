"""Pictures in and out: photos, animations, and numbered frames as one video."""
