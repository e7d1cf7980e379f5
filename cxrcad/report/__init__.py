"""Results as tables, text, Markdown and HTML pages, with pictures and plots."""
