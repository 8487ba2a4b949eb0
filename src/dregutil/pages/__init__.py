"""Pages for people who look before something is removed: values → a document → one HTML file, or Markdown. Pure.

`model` has the document, which docs/json.md describes; `make` fills it from what a session returns, each subject in a
module of its own; `page` and `markdown` render it. This room may import `report` and the values of the rooms below. It
reads no file but those of its own package, and no clock.

`bundle/report.js` and `bundle/report.css`, if they were built, go into each page: the script finds the document in the
element `data`, and the page that it may replace in the element `report`.
"""
