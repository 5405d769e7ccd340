"""The promotion drill: versions go live and back under load, again and again."""
