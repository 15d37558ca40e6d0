"""What components run: one thin function ``run(out, **inputs)`` a file, calling the rooms below."""
