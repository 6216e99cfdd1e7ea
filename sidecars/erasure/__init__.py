"""Erases a person's data; so far, it keeps the legal holds that stand in the way of that.

Walk: `holds` are in a file under a seal that `sealed_json` makes.

May not import: proxy, asyncio. No value is in what it returns, notes or raises.
"""
