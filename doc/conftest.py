"""`pytest --doctest-glob='*.rst' doc` runs the pages, and nothing but the pages."""

collect_ignore = ["conf.py", "_build", "auto_examples", "api/generated"]
