"""The rules' own messages, generated; never edited."""
