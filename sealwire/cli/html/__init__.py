"""Reports as one HTML page that needs nothing else: no script, no font, no address outside it.

`page` takes what a report says, `plots` draws in SVG, and `files.html` has the frame that every report
shares, for light and dark screens. A report with a shape of its own has a template that extends the frame.
"""
