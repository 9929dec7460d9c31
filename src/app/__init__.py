"""Shows in a browser what a student keeps of an image, and what that changes."""
