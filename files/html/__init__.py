"""HTML that needs nothing else: no script, no font, no address outside it.

Owns: `frame.render`, and the frame `base.html.j2` that reports of the command line and the page of the admin
address share, for light and dark screens and for paper. `pico.css` is Pico's (MIT), as it was published. The
caller makes the content of a page, and keeps the templates for it beside its own code.

May not import: any other room, asyncio, socket, ssl, logging.
"""
