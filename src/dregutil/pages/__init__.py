"""Pages for people who look before something is removed: values → a document → one HTML file, or Markdown. Pure.

`model` has the document, which docs/json.md describes; `make` fills it from what a session returns, each subject in a
module of its own; `page` and `markdown` render it. This room may import `report` and the values of the rooms below. It
reads no file but those of its own package, and no clock.
"""
