"""Records → estimates → tables, figures, page."""
