"""Pictures: photos, animations, and numbered pictures as a video."""
